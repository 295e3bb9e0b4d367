"use strict";
// The map to explore. It loads nothing: layers are texts of this page, drawn pixel by pixel on a canvas (canvas.js).
(() => {
  const find = (id) => document.getElementById(id);
  const root = find("explorer");
  if (!root || typeof DecompressionStream === "undefined") return;
  const spec = JSON.parse(find("explorer-data").textContent);
  const canvas = find("explorer-map");
  const pen = mapCanvas(canvas, draw), { context } = pen;
  const list = find("explorer-layer");
  const sites = find("explorer-sites");
  const place = find("explorer-place");
  const values = find("explorer-values");
  const OUTSIDE = 0, NO_VALUE = 1, FIRST = 2;
  const NO_VALUE_COLOUR = [212, 212, 212];
  const LARGEST_PIXEL = 40; // of the grid, in CSS pixels, at the closest look

  // ---- numbers that came as text

  function bytesOf(text) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
    return bytes;
  }

  const first = new Int32Array(bytesOf(spec.grid.first).buffer);
  const count = new Int32Array(bytesOf(spec.grid.count).buffer);
  const height = first.length, width = spec.grid.width;
  const start = new Int32Array(height + 1);
  for (let row = 0; row < height; row++) start[row + 1] = start[row] + count[row];
  const mesh = spec.mesh;
  const planes = new Float32Array(bytesOf(mesh.planes).buffer);

  async function unpack(layer) {
    const bytes = bytesOf(find("explorer-" + layer.name).textContent.trim());
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const residuals = new Uint8Array(await new Response(stream).arrayBuffer());
    const codes = new Uint8Array(start[height]);
    let above = new Uint8Array(width + 1), current = new Uint8Array(width + 1); // the first stands before the row
    const mean = layer.predictor === "mean";
    for (let row = 0; row < height; row++) {
      current.fill(0);
      let i = start[row];
      const end = first[row] + count[row];
      for (let column = first[row] + 1; column <= end; column++, i++) {
        const left = current[column - 1], up = above[column];
        let guess;
        if (mean) {
          guess = (left + up) >> 1;
        } else {
          const low = left < up ? left : up, high = left < up ? up : left;
          guess = left + up - above[column - 1];
          guess = guess < low ? low : guess > high ? high : guess;
        }
        codes[i] = current[column] = residuals[i] + guess;
      }
      [above, current] = [current, above];
    }
    return codes;
  }

  const unpacked = new Map(); // promises of codes, by name of layer
  const named = new Map(spec.layers.map((layer) => [layer.name, layer]));

  function codesOf(layer) {
    if (!unpacked.has(layer.name)) unpacked.set(layer.name, layer.minus ? difference(layer) : unpack(layer));
    return unpacked.get(layer.name);
  }

  async function difference(layer) {
    const [after, before] = await Promise.all(layer.minus.map((name) => codesOf(named.get(name))));
    const middle = layer.colours.length / 12 - 0.5; // the code of no change, counted from FIRST
    const codes = new Uint16Array(after.length);
    for (let i = 0; i < codes.length; i++) {
      const a = after[i], b = before[i];
      codes[i] = a >= FIRST && b >= FIRST ? FIRST + middle + a - b : a === OUTSIDE ? OUTSIDE : NO_VALUE;
    }
    return codes;
  }

  function coloursOf(layer) {
    const n = layer.colours.length / 6;
    const bytes = new Uint8Array(4 * (n + FIRST));
    bytes.set([...NO_VALUE_COLOUR, 255], 4 * NO_VALUE);
    for (let i = 0; i < n; i++) {
      const colour = parseInt(layer.colours.slice(6 * i, 6 * i + 6), 16);
      bytes.set([colour >> 16, (colour >> 8) & 255, colour & 255, 255], 4 * (i + FIRST));
    }
    return new Uint32Array(bytes.buffer);
  }

  // ---- where things are: paper [m], screen [CSS pixels], grid [pixels of the window]

  const [LEFT, RIGHT, BOTTOM, TOP] = spec.extent;
  const view = { x: 0, y: 0, scale: 1 }; // middle of the canvas on the paper; metres a CSS pixel
  let closest = 1;

  // A plane of the mesh at a point of the paper, between its points; beyond the mesh, as its edge goes on.
  function onMesh(plane, x, y) {
    const u = ((x - LEFT) / (RIGHT - LEFT)) * (mesh.across - 1);
    const v = ((TOP - y) / (TOP - BOTTOM)) * (mesh.down - 1);
    const i = Math.min(Math.max(Math.floor(u), 0), mesh.across - 2);
    const j = Math.min(Math.max(Math.floor(v), 0), mesh.down - 2);
    const at = (plane * mesh.down + j) * mesh.across + i;
    const a = u - i, b = v - j;
    const upper = planes[at] * (1 - a) + planes[at + 1] * a;
    const lower = planes[at + mesh.across] * (1 - a) + planes[at + mesh.across + 1] * a;
    return upper * (1 - b) + lower * b;
  }

  function indexAt(column, row) {
    if (!(column >= 0 && row >= 0 && row < height)) return -1;
    const r = Math.floor(row), c = Math.floor(column) - first[r];
    return c >= 0 && c < count[r] ? start[r] + c : -1;
  }

  const toScreen = (x, y) => [
    canvas.clientWidth / 2 + (x - view.x) / view.scale,
    canvas.clientHeight / 2 - (y - view.y) / view.scale,
  ];
  const toPaper = (x, y) => [
    view.x + (x - canvas.clientWidth / 2) * view.scale,
    view.y - (y - canvas.clientHeight / 2) * view.scale,
  ];
  const widest = () => Math.max((RIGHT - LEFT) / canvas.clientWidth, (TOP - BOTTOM) / canvas.clientHeight);

  function keepInView() {
    view.scale = Math.min(Math.max(view.scale, Math.min(closest, widest())), widest());
    const across = Math.max(0, (RIGHT - LEFT - canvas.clientWidth * view.scale) / 2);
    const up = Math.max(0, (TOP - BOTTOM - canvas.clientHeight * view.scale) / 2);
    const x = (LEFT + RIGHT) / 2, y = (BOTTOM + TOP) / 2;
    view.x = Math.min(Math.max(view.x, x - across), x + across);
    view.y = Math.min(Math.max(view.y, y - up), y + up);
  }

  function showWhole() {
    view.scale = widest();
    refresh();
  }

  function move(across, up) {
    view.x += across * view.scale;
    view.y += up * view.scale;
    refresh();
  }

  // Zoom so that a point of the canvas stays where it is.
  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const [atX, atY] = toPaper(x, y);
    view.scale /= factor;
    keepInView();
    const [nowX, nowY] = toPaper(x, y);
    view.x += atX - nowX;
    view.y += atY - nowY;
    refresh();
  }

  // ---- drawing

  let layer = null, codes = null, colours = null, chosen = null;

  function refresh() {
    keepInView();
    pen.later();
  }

  function draw() {
    const ratio = codes ? pen.fit() : 0;
    if (!ratio) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    drawPixels(view.scale / ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.lineJoin = "round";
    drawGraticule();
    context.strokeStyle = "#262626";
    context.lineWidth = 1;
    for (const ring of spec.outline) strokeLine(ring);
    if (sites.checked) spec.sites.forEach(drawSite);
    drawScaleBar();
    if (spec.simulated) pen.text("simulated data", canvas.clientWidth - 8, 16, "right", "bold 13px system-ui, sans-serif");
    if (chosen) pen.cross(...toScreen(chosen.x, chosen.y), 7, "#000000");
    pen.aim();
  }

  // Each point of the canvas shows the pixel it lies in. The mesh is asked for every sixteenth point of a row.
  function drawPixels(metres) {
    const across = canvas.width, down = canvas.height, BETWEEN = 16;
    const image = context.createImageData(across, down);
    const out = new Uint32Array(image.data.buffer);
    const left = view.x - (metres * across) / 2, top = view.y + (metres * down) / 2;
    for (let j = 0; j < down; j++) {
      const y = top - (j + 0.5) * metres;
      let x = left + 0.5 * metres;
      let column = onMesh(0, x, y), row = onMesh(1, x, y);
      for (let i = 0; i < across; i += BETWEEN) {
        x = left + (i + BETWEEN + 0.5) * metres;
        const nextColumn = onMesh(0, x, y), nextRow = onMesh(1, x, y);
        const columnStep = (nextColumn - column) / BETWEEN, rowStep = (nextRow - row) / BETWEEN;
        const last = Math.min(BETWEEN, across - i);
        for (let k = 0; k < last; k++) {
          const c = column + k * columnStep, r = row + k * rowStep;
          if (c >= 0 && r >= 0 && r < height) {
            const whole = r | 0, from = (c | 0) - first[whole];
            if (from >= 0 && from < count[whole]) out[j * across + i + k] = colours[codes[start[whole] + from]];
          }
        }
        column = nextColumn;
        row = nextRow;
      }
    }
    context.putImageData(image, 0, 0);
  }

  function strokeLine(points) {
    context.beginPath();
    for (let i = 0; i < points.length; i += 2) context.lineTo(...toScreen(points[i], points[i + 1]));
    context.stroke();
  }

  function drawGraticule() {
    const { step, meridians, parallels } = spec.graticule;
    const degree = 111000 / view.scale; // in CSS pixels, about
    const every = [1, 2, 5, 10, 20, 50].find((n) => n * step * degree > 90) || 100;
    const label = (n, positive, negative) =>
      `${Number(Math.abs(n * step).toFixed(4))}°${n * step >= 0 ? positive : negative}`;
    const labels = [];
    context.strokeStyle = "rgba(38, 38, 38, 0.45)";
    context.lineWidth = 0.7;
    for (const [n, line] of Object.entries(meridians)) {
      if (n % every) continue;
      strokeLine(line);
      const at = crossing(line, 1, canvas.clientHeight - 12);
      if (at !== null && at > 30) labels.push([label(n, "E", "W"), at, canvas.clientHeight - 10, "center"]);
    }
    for (const [n, line] of Object.entries(parallels)) {
      if (n % every) continue;
      strokeLine(line);
      const at = crossing(line, 0, 4);
      if (at !== null && at < canvas.clientHeight - 24) labels.push([label(n, "N", "S"), 5, at, "left"]);
    }
    labels.forEach((each) => pen.text(...each));
  }

  // Where a line passes x (axis 0) or y (axis 1) of the canvas: the other coordinate, or null.
  function crossing(points, axis, at) {
    let before = toScreen(points[0], points[1]);
    for (let i = 2; i < points.length; i += 2) {
      const here = toScreen(points[i], points[i + 1]);
      if ((before[axis] - at) * (here[axis] - at) <= 0 && before[axis] !== here[axis]) {
        const share = (at - before[axis]) / (here[axis] - before[axis]);
        const other = before[1 - axis] + share * (here[1 - axis] - before[1 - axis]);
        return other >= 0 && other <= (axis ? canvas.clientWidth : canvas.clientHeight) ? other : null;
      }
      before = here;
    }
    return null;
  }

  function drawScaleBar() {
    const longest = (canvas.clientWidth / 4) * view.scale;
    const power = 10 ** Math.floor(Math.log10(longest));
    const length = Math.max(...[1, 2, 5].map((n) => n * power).filter((l) => l <= longest));
    const x = canvas.clientWidth - 14 - length / view.scale, y = canvas.clientHeight - 30;
    const bar = () => {
      context.moveTo(x, y);
      context.lineTo(canvas.clientWidth - 14, y);
    };
    pen.stroke("#262626", bar, 3);
    const text = length >= 1000 ? `${length / 1000} km` : `${length} m`;
    pen.text(text, x + length / view.scale / 2, y - 12, "center");
  }

  const drawSite = (site) =>
    pen.borehole(...toScreen(site.x, site.y), site.observed, site.observed === site.mapped);

  // ---- layers and legends

  // As many decimals as a step has.
  function digits(step) {
    let places = 0;
    while (places < 6 && Math.abs(step * 10 ** places - Math.round(step * 10 ** places)) > 1e-6) places++;
    return places;
  }
  const written = (value, places) =>
    value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places }).replace("-", "−");
  const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);

  function valueOf(each, code) {
    if (code < FIRST) return "no value";
    if (each.names.length) return each.names[code - FIRST];
    const places = digits(each.step);
    const half = each.minus ? each.step : each.step / 2;
    const within = Number(half.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
    return withUnit(`${written(each.low + each.step * (code - FIRST), places)} ± ${within}`, each.unit);
  }

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function swatch(colour) {
    const made = element("span", { class: "swatch", "aria-hidden": "true" });
    made.style.background = colour;
    return made;
  }

  function showLegend() {
    const box = find("explorer-legend");
    const hex = (code) => "#" + layer.colours.slice(6 * code, 6 * code + 6);
    const items = [element("h3", {}, layer.title)];
    if (layer.names.length) {
      items.push(element("ul", {}, ...layer.names.map((name, code) => element("li", {}, swatch(hex(code)), name))));
    } else {
      const [low, high] = layer.shown, stops = 24, n = layer.colours.length / 6;
      const code = (value) => Math.min(Math.max(Math.round((value - layer.low) / layer.step), 0), n - 1);
      const shades = Array.from({ length: stops + 1 }, (_, i) => hex(code(low + ((high - low) * i) / stops)));
      const bar = element("div", { class: "ramp", "aria-hidden": "true" });
      bar.style.background = `linear-gradient(to right, ${shades.join(", ")})`;
      const places = Math.max(0, Math.ceil(-Math.log10((high - low) / 30)));
      const ends = [low, (low + high) / 2, high].map((value) => element("span", {}, written(value, places)));
      items.push(bar, element("div", { class: "ramp-ends" }, ...ends));
      items.push(element("p", { class: "note" }, layer.unit ? `in ${layer.unit}` : "without unit"));
    }
    items.push(element("p", { class: "note" }, swatch(`rgb(${NO_VALUE_COLOUR})`), "no value"));
    if (spec.sites.length) {
      items.push(element("p", { class: "note" }, "Boreholes: circles found permafrost, squares none; purple where the map says otherwise."));
    }
    box.replaceChildren(...items);
  }

  let switches = 0;

  async function showLayer(name) {
    const mine = ++switches;
    const wanted = named.get(name);
    const found = await codesOf(wanted);
    if (mine !== switches) return; // another was asked for since
    layer = wanted;
    codes = found;
    colours = coloursOf(layer);
    list.value = name;
    canvas.setAttribute("aria-label", `Map: ${layer.title}${spec.simulated ? " (simulated)" : ""}`);
    root.dataset.layer = name;
    showLegend();
    refresh();
  }

  function stepLayer(by) {
    const names = spec.layers.map((each) => each.name);
    return showLayer(names[(names.indexOf(layer.name) + by + names.length) % names.length]);
  }

  // ---- values of a pixel

  let questions = 0;

  async function choose(x, y) {
    const mine = ++questions;
    const [atX, atY] = toPaper(x, y);
    const column = onMesh(0, atX, atY), row = onMesh(1, atX, atY);
    const index = indexAt(column, row);
    chosen = { x: atX, y: atY };
    refresh();
    root.dataset.told = "";
    if (index < 0) {
      place.textContent = "That is outside the region.";
      values.hidden = true;
      root.dataset.told = "outside";
      return;
    }
    const degrees = (value, positive, negative) => `${written(Math.abs(value), 3)}° ${value >= 0 ? positive : negative}`;
    const where = `${degrees(onMesh(3, atX, atY), "N", "S")}, ${degrees(onMesh(2, atX, atY), "E", "W")}`;
    const pixel = [Math.floor(row) + spec.grid.top, Math.floor(column) + spec.grid.left];
    const near = sites.checked ? siteAt(x, y) : null;
    const borehole = near
      ? ` Borehole ${near.name}: ${near.observed ? "permafrost" : "no permafrost"} found, ${near.mapped ? "permafrost" : "none"} mapped.`
      : "";
    place.textContent = `${where}; row ${pixel[0]}, column ${pixel[1]} of the grid. ${layer.title}: ${valueOf(layer, codes[index])}.${borehole}`;
    const body = values.querySelector("tbody");
    const rows = spec.layers.map((each) => {
      const cell = element("td", {}, "…");
      return [each, cell, element("tr", {}, element("th", { scope: "row" }, each.title), cell)];
    });
    body.replaceChildren(...rows.map((each) => each[2]));
    values.hidden = false;
    for (const [each, cell] of rows) {
      const held = await codesOf(each);
      if (mine !== questions) return;
      cell.textContent = valueOf(each, held[index]);
    }
    root.dataset.told = `${pixel[0]},${pixel[1]}`;
  }

  function siteAt(x, y) {
    let best = null, nearest = 9;
    for (const site of spec.sites) {
      const [atX, atY] = toScreen(site.x, site.y);
      const distance = Math.hypot(atX - x, atY - y);
      if (distance < nearest) [best, nearest] = [site, distance];
    }
    return best;
  }

  // ---- hands

  pen.hands({
    move: (right, down) => move(right, -down),
    zoom,
    choose: (x, y) => (layer ? choose(x, y) : null),
    whole: showWhole,
    key: (pressed) => {
      const number = "123456789".indexOf(pressed), step = { "]": 1, "[": -1 }[pressed];
      if (!layer || !(step || spec.layers[number])) return false;
      if (step) stepLayer(step);
      else showLayer(spec.layers[number].name);
      return true;
    },
    scrolls: true,
  });

  list.addEventListener("change", () => showLayer(list.value));
  sites.addEventListener("change", refresh);
  find("explorer-in").addEventListener("click", () => zoom(1.5));
  find("explorer-out").addEventListener("click", () => zoom(1 / 1.5));
  find("explorer-whole").addEventListener("click", showWhole);

  // ---- begin

  root.hidden = false;
  find("explorer-fails").hidden = true;
  find("explorer-sites-label").hidden = spec.sites.length === 0;
  canvas.style.aspectRatio = String(Math.min(Math.max((RIGHT - LEFT) / (TOP - BOTTOM), 0.8), 2));
  const middle = [(LEFT + RIGHT) / 2, (BOTTOM + TOP) / 2];
  closest = 1000 / LARGEST_PIXEL / Math.hypot(
    onMesh(0, middle[0] + 1000, middle[1]) - onMesh(0, ...middle),
    onMesh(1, middle[0] + 1000, middle[1]) - onMesh(1, ...middle),
  );
  [view.x, view.y] = middle;
  new ResizeObserver(() => (layer ? refresh() : null)).observe(canvas);
  showLayer(spec.layers[0].name).then(() => {
    showWhole();
    root.dataset.ready = "true";
  });
})();
