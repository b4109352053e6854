const VIEWS = { photo: photoView, camera: cameraView, about: aboutView, shell: shellView };

export default {
  render({ model, el, signal, host }) {
    el.classList.add("fer-nb", `fer-nb-kind-${model.get("kind")}`);
    return VIEWS[model.get("kind")]({ model, el, signal, host });
  },
};
