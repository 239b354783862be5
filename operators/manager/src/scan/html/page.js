"use strict";
(() => {
  const form = document.getElementById("filters");
  const told = document.getElementById("told");
  const clusters = Array.from(document.querySelectorAll("section.cluster"), (section) => ({
    section,
    name: section.dataset.cluster,
    details: section.querySelector("details"),
    rows: Array.from(section.querySelectorAll("tr[data-state]"), (row) => ({ row, text: undefined })),
  }));
  const wanted = () => {
    const { state, cluster, text, fresh } = form.elements;
    const states = Array.from(state).filter((box) => box.checked).map((box) => box.value);
    const words = text.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const isAll = states.length === state.length && words.length === 0 && !fresh.checked;
    return { states: new Set(states), cluster: cluster.value, words, isFresh: fresh.checked, isAll };
  };
  const matches = (found, { states, words, isFresh }) => {
    const { state, fresh } = found.row.dataset;
    if (!states.has(state) || (isFresh && fresh === undefined)) return false;
    if (words.length === 0) return true;
    found.text ??= found.row.textContent.toLowerCase();
    return words.every((word) => found.text.includes(word));
  };
  const apply = () => {
    const filters = wanted();
    let shown = 0;
    let all = 0;
    for (const { section, name, details, rows } of clusters) {
      const isWanted = filters.cluster === "" || filters.cluster === name;
      let here = 0;
      for (const found of rows) {
        const isShown = isWanted && matches(found, filters);
        found.row.hidden = !isShown;
        here += isShown ? 1 : 0;
      }
      // What was not scanned is never filtered away with the checks of others.
      section.hidden = !isWanted || (rows.length > 0 && here === 0 && !filters.isAll);
      if (details !== null && here > 0 && !filters.isAll) details.open = true;
      shown += here;
      all += rows.length;
    }
    told.textContent = `${shown} of ${all} checks are shown.`;
  };
  // A link may carry filters: #state=Fail,Error&cluster=prod-eu&text=kubelet&new
  const read = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    const { state, cluster, text, fresh } = form.elements;
    if (asked.has("state")) {
      const states = asked.get("state").split(",");
      for (const box of state) box.checked = states.includes(box.value);
    }
    const name = asked.get("cluster");
    if (Array.from(cluster.options).some((option) => option.value === name)) cluster.value = name;
    if (asked.has("text")) text.value = asked.get("text");
    if (asked.has("new")) fresh.checked = true;
  };
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = Array.from(document.querySelectorAll("details:not([open])"));
    for (const details of closed) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of closed) details.open = false;
    closed = [];
  });
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  // Its fields have their old values until the event is over.
  form.addEventListener("reset", () => setTimeout(apply));
  addEventListener("hashchange", () => {
    read();
    apply();
  });
  form.hidden = false;
  read();
  apply();
  document.documentElement.dataset.ready = "true";
})();
