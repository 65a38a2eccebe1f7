// What moves on the page: the viewer's controls, the comparison slider. Runs after viewer.js, in one script.
"use strict";

const find = (selector) => document.querySelector(selector);
const all = (selector) => Array.from(document.querySelectorAll(selector));

function loadImage(source) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("an embedded image did not load"));
    image.src = source;
  });
}

function bindPointer(viewer) {
  const canvas = viewer.canvas, pointers = new Map();
  const spread = () => {
    const [a, b] = [...pointers.values()];
    return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, size: Math.hypot(a.x - b.x, a.y - b.y) };
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  canvas.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const before = pointers.size === 2 ? spread() : null;
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const height = canvas.clientHeight;
    if (before) {
      const now = spread();
      viewer.pan((now.x - before.x) / height, (now.y - before.y) / height);
      if (before.size > 0) viewer.scale(now.size / before.size);
      return;
    }
    const dx = (event.clientX - last.x) / height, dy = (event.clientY - last.y) / height;
    if (event.buttons & 6 || event.shiftKey || event.ctrlKey) viewer.pan(dx, dy);
    else viewer.orbit(4 * dx, 4 * dy);
  });
  for (const name of ["pointerup", "pointercancel"])
    canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    // Scrolling past the viewer must scroll the page: the wheel zooms once the viewer has been clicked.
    if (document.activeElement !== canvas && !event.ctrlKey) return;
    event.preventDefault();
    viewer.scale(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)));
  }, { passive: false });
}

function bindKeys(viewer) {
  const step = 0.09;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  viewer.canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (move && event.shiftKey) viewer.pan(0.05 * move[0], 0.05 * move[1]);
    else if (move) viewer.orbit(step * move[0], step * move[1]);
    else if (event.key === "+" || event.key === "=") viewer.scale(1.15);
    else if (event.key === "-") viewer.scale(1 / 1.15);
    else if (event.key === "Home" || event.key === "0") viewer.reset();
    else return;
    event.preventDefault();
  });
}

function bindControls(viewer) {
  all("[data-show]").forEach((button) => button.addEventListener("click", () => {
    const name = button.dataset.show;
    viewer.show[name] = !viewer.show[name];
    button.setAttribute("aria-pressed", String(viewer.show[name]));
    viewer.draw();
  }));
  all("[data-look]").forEach((button) => button.addEventListener("click", () => {
    const look = button.dataset.look.split(" ").map(Number);
    if (look.length === 2) viewer.look(...look);
    else viewer.reset();
  }));
}

async function startViewer() {
  const root = document.documentElement, stage = find(".stage"), canvas = find("#viewer");
  try {
    const meta = JSON.parse(find("#mesh-meta").textContent);
    const images = await Promise.all([meta.texture, meta.unseen].map((id) => loadImage(find(id).textContent.trim())));
    const viewer = new Viewer(canvas, meta, decodeMesh(meta, find("#mesh-data").textContent.trim()), images);
    bindPointer(viewer);
    bindKeys(viewer);
    bindControls(viewer);
    new ResizeObserver(() => viewer.draw()).observe(canvas);
    canvas.addEventListener("webglcontextlost", () => fail("The browser took the graphics context away. Reload the page."));
    stage.classList.add("live");
    viewer.render();
    root.dataset.viewer = "drawn";
    root.dataset.triangles = String(meta.faces);
    root.dataset.pixels = String(viewer.coveredPixels());
  } catch (error) {
    fail(`The interactive view cannot run in this browser (${error.message}). The picture shows the same mesh.`);
  }
  function fail(message) {
    stage.classList.remove("live");
    root.dataset.viewer = "failed";
    const note = find("#viewer-note");
    note.textContent = message;
    note.hidden = false;
    all(".controls button").forEach((button) => { button.disabled = true; });
  }
}

function startCompare() {
  const figures = all(".compare");
  all("[name=view]").forEach((radio) => radio.addEventListener("change", () => {
    figures.forEach((figure) => { figure.hidden = figure.dataset.view !== radio.value; });
  }));
  figures.forEach((figure, k) => { figure.hidden = k > 0; });
  const place = (value) => all(".compare .frame").forEach((frame) => frame.style.setProperty("--cut", `${value}%`));
  all(".compare [type=range]").forEach((range) => range.addEventListener("input", () => {
    place(range.value);
    all(".compare [type=range]").forEach((other) => { other.value = range.value; });
  }));
  const difference = find("#difference");
  difference.addEventListener("click", () => {
    const on = find(".compares").classList.toggle("difference");
    difference.setAttribute("aria-pressed", String(on));
  });
}

startCompare();
startViewer();
