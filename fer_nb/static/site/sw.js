// Keeps what the page has loaded, for visits without a network. `fer-nb site` puts VERSION and FILES, the site's files, before this line.

const NAME = `fer-nb ${VERSION}`, root = new URL("./", self.location).href;
const nameOf = (url) => { const o = new URL(url); return o.origin + o.pathname === root ? "index.html" : (o.origin + o.pathname).replace(root, ""); };
const own = async () => (await caches.keys()).filter((o) => o.startsWith("fer-nb ") && o.endsWith(` ${root}`));
const CACHE = `${NAME} ${root}`; // two sites may share an origin

/** Loads the named files into the cache, asking the server whether what the browser has is still the same. */
async function keep(names) {
  const cache = await caches.open(CACHE), there = new Set((await cache.keys()).map((o) => nameOf(o.url)));
  const missing = names.filter((o) => FILES.includes(o) && !there.has(o));
  await Promise.all(missing.map(async (o) => {
    const reply = await fetch(root + o, { cache: "no-cache" });
    if (reply.ok) await cache.put(root + o, reply);
  }));
}

// A new version brings what the one before had; the page asks the visitor before it takes over.
self.addEventListener("install", (event) => event.waitUntil((async () => {
  const names = new Set();
  for (const name of await own()) for (const o of await (await caches.open(name)).keys()) names.add(nameOf(o.url));
  await keep([...names]);
})()));

self.addEventListener("activate", (event) => event.waitUntil((async () => {
  for (const name of await own()) if (name !== CACHE) await caches.delete(name);
  await self.clients.claim();
})()));

self.addEventListener("message", (event) => {
  if (event.data === "take over") self.skipWaiting();
  else event.waitUntil(keep(event.data.map(nameOf)).then(() => event.source?.postMessage("kept")));
});

self.addEventListener("fetch", (event) => {
  const { request } = event, name = nameOf(request.url);
  if (request.method !== "GET" || !FILES.includes(name)) return;
  event.respondWith((async () => {
    const cache = await caches.open(CACHE), kept = await cache.match(root + name);
    if (kept) return kept;
    const reply = await fetch(request);
    if (reply.ok) await cache.put(root + name, reply.clone());
    return reply;
  })());
});
