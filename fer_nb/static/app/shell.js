// The page around the views: name, tabs, the model picker.

const TABS = [["photo", "Photo"], ["camera", "Camera"], ["about", "About"]];

function shellView({ model, el, signal, host }) {
  const panels = {}, buttons = {};
  const options = () => model.get("models").map((o) =>
    h("option", { value: o.name, selected: o.name === model.get("model") }, [o.name, o.accuracy && percent(o.accuracy, 1), o.milliseconds && `${o.milliseconds.toFixed(1)} ms`].filter(Boolean).join(" \u00b7 ")));
  const picker = h("select", { "aria-label": "Model", onchange: () => { model.set("model", picker.value); model.save_changes(); } }, options());
  const notice = h("p.message.bad", { role: "alert", hidden: true });
  const mark = h("span.mark", { "aria-hidden": "true" }, model.get("emotions").map((o) => h("i", { style: `background:${o.colour}` })));

  function open(name, focus = false) {
    for (const [key] of TABS) {
      const on = key === name;
      if (!on && !panels[key].hidden) panels[key].dispatchEvent(new CustomEvent("fer-nb-leave"));
      panels[key].hidden = !on;
      buttons[key].setAttribute("aria-selected", String(on));
      buttons[key].tabIndex = on ? 0 : -1;
    }
    if (focus) buttons[name].focus();
  }

  function keys(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = TABS.findIndex(([key]) => buttons[key] === event.target);
    open(TABS[(at + step + TABS.length) % TABS.length][0], true);
  }

  for (const [key, text] of TABS) {
    panels[key] = h("div.panel", { role: "tabpanel", "aria-label": text });
    buttons[key] = h("button", { role: "tab", "aria-selected": "false", onclick: () => open(key) }, text);
    host.getWidget(model.get(key)).then((child) => child.render({ el: panels[key], signal })).catch((error) => {
      panels[key].replaceChildren(h("p.message.bad", {}, `This part of the page could not be shown (${error.message}): reload the page.`));
    });
  }
  model.on("change:models", () => picker.replaceChildren(...options()));
  model.on("change:model", () => { picker.value = model.get("model"); });
  const warn = () => { notice.textContent = model.get("notice"); notice.hidden = !notice.textContent; };
  model.on("change:notice", warn);
  warn();

  el.append(
    h("header.top", {}, h("div.name", {}, mark, h("h1", {}, "fer_nb"), h("p", {}, `Facial expressions, read on ${placeOf(model).here}`)),
      h("nav", { role: "tablist", onkeydown: keys }, TABS.map(([key]) => buttons[key])),
      h("label.picker", {}, h("span", {}, "Model"), picker)),
    notice, h("main", {}, TABS.map(([key]) => panels[key])));
  open("photo");
}
