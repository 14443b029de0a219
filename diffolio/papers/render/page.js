"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const main = at("papers"), controls = at("controls"), root = document.documentElement;

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const theme = at("theme");
  const nameTheme = () => { theme.textContent = isDark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("diffolio-theme", root.dataset.theme); } catch { /* kept for this visit only */ }
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  // Printing shows everything that is folded.
  const folded = [];
  let whole = () => {};
  addEventListener("beforeprint", () => { whole(true); for (const d of main.querySelectorAll("details:not([open])")) { d.open = true; folded.push(d); } });
  addEventListener("afterprint", () => { for (const d of folded.splice(0)) d.open = false; whole(false); });

  main.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.classList.contains("copy")) copy(button);
    if (button?.classList.contains("more")) { button.closest(".by").classList.add("open-names"); button.remove(); }
  });
  for (const rest of main.querySelectorAll(".rest")) {
    const more = document.createElement("button");
    more.type = "button";
    more.className = "more";
    more.textContent = `and ${rest.textContent.split(", ").length - 1} more`;
    rest.after(more);
  }
  async function copy(button) {
    const text = button.parentElement.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  if (!controls) return;
  const fold = (text) => (/[^\0-\x7f]/.test(text) ? text.normalize("NFKD").replace(/\p{M}/gu, "") : text).toLowerCase();
  const nodes = [...main.children].filter((node) => node.matches("h2, article"));
  const papers = [], headings = new Map();
  let display = papers;
  let heading = null;
  for (const el of nodes) {
    if (el.matches("h2")) { heading = el; continue; }
    headings.set(heading, (headings.get(heading) ?? 0) + 1);
    papers.push({ el, heading, ...el.dataset, runs: "runs" in el.dataset, place: papers.length, categories: el.dataset.categories.split(" ") });
  }
  // Folding thousands of abstracts takes a moment: it is done in small parts before the first key.
  function index(paper) {
    if (paper.front !== undefined) return;
    const [title, by, abstract] = ["h3", ".by", ".abstract"].map((name) => [...paper.el.children].find((child) => child.matches(name)));
    paper.parts = [title.firstElementChild, by, abstract?.lastElementChild].filter(Boolean);
    paper.title = fold(title.textContent);
    paper.front = `${paper.title} ${fold(by?.textContent ?? "")} ${paper.el.id.toLowerCase()}`;
    paper.body = fold(abstract?.lastElementChild.textContent ?? "");
  }
  let indexed = 0;
  (function some() {
    const until = performance.now() + 12;
    while (indexed < papers.length && performance.now() < until) index(papers[indexed++]);
    if (indexed < papers.length) setTimeout(some, 4);
  })();

  const q = at("q"), status = at("status"), none = at("none"), unfold = at("unfold");
  const value = (id) => at(id)?.value ?? "";
  const kinds = [...controls.querySelectorAll("[name=kind]")];
  const count = new Intl.NumberFormat("en");

  function wanted() {
    const words = fold(q.value).split(/\s+/).filter(Boolean);
    const chosen = kinds.filter((box) => box.checked).map((box) => box.value);
    const [category, family, from, to, runs] = [value("category"), value("family"), value("from"), value("to"), at("runs")?.checked];
    return (paper) => {
      if (runs && !paper.runs) return false;
      if (kinds.length && !chosen.includes(paper.kind)) return false;
      if (category && !paper.categories.includes(category)) return false;
      if (family && paper.family !== family) return false;
      if ((from && paper.day < from) || (to && paper.day > to)) return false;
      if (words.length) index(paper);
      paper.hit = false;
      for (const word of words) {
        if (paper.front.includes(word)) continue;
        if (!paper.body.includes(word)) return false;
        paper.hit = true;
      }
      return true;
    };
  }

  // Thousands of papers are laid out a part at a time, as far as the reader scrolls: that keeps every key press quick.
  const part = 150;
  let limit = part;
  const end = document.createElement("div");
  none.before(end);
  const nearing = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) extend(limit + part); }, { rootMargin: "2000px" });
  function extend(to) {
    limit = to;
    apply();
  }
  function start() {
    extend(part);
  }
  whole = (on) => extend(on ? Infinity : part);

  function apply() {
    const fits = wanted(), flat = Boolean(value("sort"));
    const alive = new Map(), visible = new Set();
    let shown = 0;
    for (const paper of display) {
      const fit = fits(paper), show = fit && shown < limit;
      if (paper.el.hidden === show) paper.el.hidden = !show;
      if (fit) { shown += 1; alive.set(paper.heading, (alive.get(paper.heading) ?? 0) + 1); }
      if (show) visible.add(paper.heading);
      if (paper.el.hasAttribute("data-hit") !== (show && paper.hit)) paper.el.toggleAttribute("data-hit", show && paper.hit);
    }
    for (const [node, all] of headings) {
      const some = alive.get(node) ?? 0;
      node.hidden = flat || !visible.has(node);
      const told = some === all ? `${all}` : `${some} of ${all}`, place = node.lastElementChild;
      if (place.textContent !== told) place.textContent = told;
    }
    none.hidden = shown > 0;
    status.textContent = shown === papers.length ? `${count.format(shown)} paper${shown === 1 ? "" : "s"}` : `${count.format(shown)} of ${count.format(papers.length)} papers`;
    nearing.disconnect();
    if (shown > limit) nearing.observe(end);
    highlight();
    keep();
  }

  const orders = {
    newest: (a, b) => (a.day < b.day) - (a.day > b.day),
    oldest: (a, b) => (a.day > b.day) - (a.day < b.day),
    title: (a, b) => { index(a); index(b); return a.title < b.title ? -1 : 1; },
    runs: (a, b) => b.runs - a.runs,
  };
  function order() {
    const by = orders[value("sort")];
    display = by ? papers.toSorted((a, b) => by(a, b) || a.place - b.place) : papers;
    for (const node of by ? display.map((paper) => paper.el) : nodes) main.insertBefore(node, end);
    start();
  }

  // Marks what was found, without touching the document; only where there is time for it.
  function highlight() {
    if (!globalThis.CSS?.highlights) return;
    CSS.highlights.delete("hit");
    const words = q.value.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
    if (!words.length) return;
    const ranges = [];
    for (const paper of papers) {
      if (paper.el.hidden) continue;
      for (const part of paper.parts) {
        const node = part.firstChild, text = node?.nodeType === 3 ? node.data.toLowerCase() : "";
        if (node && text.length === node.data.length) for (const word of words) for (let i = text.indexOf(word); i >= 0; i = text.indexOf(word, i + word.length)) {
          ranges.push(new StaticRange({ startContainer: node, startOffset: i, endContainer: node, endOffset: i + word.length }));
        }
      }
      if (ranges.length > 400) break;
    }
    if (ranges.length) CSS.highlights.set("hit", new Highlight(...ranges));
  }

  // The choices stand in the address, so that a view can be kept or sent.
  const fields = ["q", "category", "family", "from", "to", "sort"];
  function keep() {
    const told = new URLSearchParams();
    for (const id of fields) if (value(id)) told.set(id, value(id));
    if (at("runs")?.checked) told.set("runs", "1");
    const off = kinds.filter((box) => !box.checked).map((box) => box.value);
    if (off.length) told.set("without", off.join(" "));
    const text = told.toString();
    if (!text && !location.hash.includes("=")) return;
    try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); } catch { /* not allowed here */ }
  }
  function restore() {
    if (!location.hash.includes("=")) {
      const named = at(decodeURIComponent(location.hash.slice(1)));
      extend(named?.matches("article") ? Infinity : limit);
      named?.scrollIntoView({ behavior: "instant" });
      return;
    }
    const told = new URLSearchParams(location.hash.slice(1));
    for (const id of fields) if (told.has(id) && at(id)) at(id).value = told.get(id);
    if (at("runs")) at("runs").checked = told.has("runs");
    const off = (told.get("without") ?? "").split(" ");
    for (const box of kinds) box.checked = !off.includes(box.value);
    order();
  }
  function clear() {
    controls.reset();
    order();
    q.focus();
  }

  let waiting = 0;
  q.addEventListener("input", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(start); });
  controls.addEventListener("change", (event) => { if (event.target.id === "sort") order(); else if (event.target !== q) start(); });
  controls.addEventListener("submit", (event) => event.preventDefault());
  at("clear").addEventListener("click", clear);
  at("again").addEventListener("click", clear);
  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-pressed") !== "true";
    unfold.setAttribute("aria-pressed", open);
    unfold.textContent = open ? "Hide abstracts" : "Show abstracts";
    for (const d of main.querySelectorAll(".abstract")) d.open = open;
  });

  addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "Escape" && event.target === q) { q.value = ""; start(); return; }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") { event.preventDefault(); q.focus(); q.select(); }
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  });
  function step(by) {
    const links = [...main.querySelectorAll("article:not([hidden]) h3 a")];
    const now = document.activeElement?.closest?.("article")?.querySelector("h3 a");
    const next = links[now ? links.indexOf(now) + by : by > 0 ? 0 : links.length - 1];
    next?.focus();
    next?.closest("article").scrollIntoView({ block: "nearest" });
  }

  // On a phone the filters fold away, on a wide screen they stand beside the papers.
  const wide = matchMedia("(min-width: 62rem)"), filters = at("filters");
  const fit = () => { filters.open = wide.matches; };
  wide.addEventListener("change", fit);
  fit();
  addEventListener("hashchange", restore);
  restore();
})();
