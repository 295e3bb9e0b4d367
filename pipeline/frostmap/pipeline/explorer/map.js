"use strict";
// The map: one picture a layer, asked for when it is chosen, moved and enlarged on a canvas. The satellites' grid is sheared
// away from 0° of longitude; it is drawn straight along the region's middle meridian. Marks and hands are those of canvas.js.
(() => {
  const find = (id) => document.getElementById(id);
  const spec = JSON.parse(find("run").textContent);
  const canvas = find("map"), list = find("layer"), holes = find("boreholes");
  const pen = mapCanvas(canvas, draw), { context } = pen;
  const { grid } = spec;
  const box = spec.inside || [0, 0, spec.width, spec.height];
  const RADIUS = 6371007.181; // of the sphere of MODIS's grid [m]
  const CLOSEST = 48; // CSS pixels of a pixel of the map
  const degrees = (radians) => (radians * 180) / Math.PI, radians = (angle) => (angle * Math.PI) / 180;

  // ---- where things are: map [column, row], plane [pixels of the map, straightened], screen [CSS pixels]

  const middle = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const positionOf = (column, row) => {
    const x = grid.left + grid.across * column, y = grid.top + grid.down * row;
    if (grid.kind === "degrees") return [x, y];
    if (grid.kind !== "sinusoidal") return null;
    return [degrees(x / (RADIUS * Math.cos(y / RADIUS))), degrees(y / RADIUS)];
  };
  const placeOf = (longitude, latitude) => {
    if (grid.kind === "degrees") return [(longitude - grid.left) / grid.across, (latitude - grid.top) / grid.down];
    const y = RADIUS * radians(latitude), x = RADIUS * radians(longitude) * Math.cos(radians(latitude));
    return [(x - grid.left) / grid.across, (y - grid.top) / grid.down];
  };
  const centre = positionOf(...middle);
  // to the east, in pixels, for each pixel to the south, along the middle meridian; nothing where the grid is straight
  const shear = grid.kind === "sinusoidal" ? radians(centre[0]) * Math.sin(radians(centre[1])) : 0;
  // degrees of longitude are shorter than those of latitude
  const flat = grid.kind === "degrees" ? Math.cos(radians(centre[1])) : 1;
  const toPlane = (column, row) => [(column - middle[0]) * flat - shear * (row - middle[1]), row - middle[1]];
  const fromPlane = (x, y) => [(x + shear * y) / flat + middle[0], y + middle[1]];

  const corners = [[box[0], box[1]], [box[2], box[1]], [box[0], box[3]], [box[2], box[3]]].map((at) => toPlane(...at));
  const extent = [0, 1].map((k) => [Math.min(...corners.map((at) => at[k])), Math.max(...corners.map((at) => at[k]))]);
  const view = { x: (extent[0][0] + extent[0][1]) / 2, y: (extent[1][0] + extent[1][1]) / 2, scale: 0 };

  const toScreen = (column, row) => {
    const [x, y] = toPlane(column, row);
    return [canvas.clientWidth / 2 + (x - view.x) * view.scale, canvas.clientHeight / 2 + (y - view.y) * view.scale];
  };
  const toMap = (x, y) =>
    fromPlane(view.x + (x - canvas.clientWidth / 2) / view.scale, view.y + (y - canvas.clientHeight / 2) / view.scale);
  const whole = () => 0.97 * Math.min(canvas.clientWidth / (extent[0][1] - extent[0][0]),
    canvas.clientHeight / (extent[1][1] - extent[1][0]));

  function keepInView() {
    view.scale = Math.min(Math.max(view.scale, Math.min(whole(), CLOSEST)), Math.max(CLOSEST, whole()));
    view.x = Math.min(Math.max(view.x, extent[0][0]), extent[0][1]);
    view.y = Math.min(Math.max(view.y, extent[1][0]), extent[1][1]);
  }

  function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const at = toPlane(...toMap(x, y));
    view.scale *= factor;
    keepInView();
    const now = toPlane(...toMap(x, y));
    view.x += at[0] - now[0];
    view.y += at[1] - now[1];
    refresh();
  }

  function move(across, down) {
    view.x += across / view.scale;
    view.y += down / view.scale;
    refresh();
  }

  // ---- drawing

  let image = null, chosen = null;

  function refresh() {
    keepInView();
    pen.later();
  }

  function draw() {
    const ratio = pen.fit();
    if (!ratio) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (image) {
      const [x, y] = toScreen(0, 0), step = view.scale * ratio;
      context.setTransform(step * flat, 0, -shear * step, step, x * ratio, y * ratio);
      context.imageSmoothingEnabled = step < 1;
      context.drawImage(image, 0, 0);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    drawGraticule();
    if (holes.checked) spec.boreholes.forEach(drawHole);
    if (chosen) drawChosen();
    pen.aim();
  }

  function line(points) {
    context.beginPath();
    points.forEach((at) => context.lineTo(...toScreen(...placeOf(...at))));
    context.stroke();
  }

  function drawGraticule() {
    if (grid.kind === "other") return;
    const edges = [[0, 0], [canvas.clientWidth, 0], [0, canvas.clientHeight], [canvas.clientWidth, canvas.clientHeight]]
      .map((at) => positionOf(...toMap(...at)));
    const [west, east, south, north] = [Math.min(...edges.map((at) => at[0])), Math.max(...edges.map((at) => at[0])),
      Math.max(-85, Math.min(...edges.map((at) => at[1]))), Math.min(85, Math.max(...edges.map((at) => at[1])))];
    const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find((each) => (north - south) / each < 7) || 30;
    const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    const labels = [];
    context.strokeStyle = "rgba(38, 38, 38, 0.35)";
    context.lineWidth = 0.7;
    for (let n = Math.ceil(south / step); n * step <= north; n++) {
      line([[west, n * step], [(west + east) / 2, n * step], [east, n * step]]);
      const y = toScreen(...placeOf(centre[0], n * step))[1];
      labels.push([`${Math.abs(n * step).toFixed(digits)}°${n < 0 ? "S" : "N"}`, 4, y, "left"]);
    }
    for (let n = Math.ceil(west / step); n * step <= east; n++) {
      const ups = Array.from({ length: 25 }, (_, k) => south + ((north - south) * k) / 24);
      line(ups.map((latitude) => [n * step, latitude]));
      const bottom = positionOf(...toMap(canvas.clientWidth / 2, canvas.clientHeight - 8))[1];
      const x = toScreen(...placeOf(n * step, bottom))[0];
      labels.push([`${Math.abs(n * step).toFixed(digits)}°${n < 0 ? "W" : "E"}`, x, canvas.clientHeight - 8, "center"]);
    }
    labels.filter(([, x, y]) => x > 0 && x < canvas.clientWidth && y > 0 && y < canvas.clientHeight)
      .forEach((each) => pen.text(...each));
  }

  function drawHole(hole) {
    const place = toScreen(hole.column + 0.5, hole.row + 0.5);
    pen.borehole(...place, hole.observed === "permafrost", hole.observed === hole.mapped);
  }

  function drawChosen() {
    const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => toScreen(chosen.column + x, chosen.row + y));
    pen.stroke("#000000", () => {
      corners.forEach((corner) => context.lineTo(...corner));
      context.closePath();
    });
    if (view.scale < 8) pen.cross(...toScreen(chosen.column + 0.5, chosen.row + 0.5), 9, "#000000");
  }

  // ---- layers

  const pictures = new Map(); // promises, by name

  async function fetched(name) {
    const answer = await fetch(`layer?name=${encodeURIComponent(name)}`);
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    const made = new Image();
    made.src = content.image;
    await made.decode();
    return { ...content, image: made };
  }

  async function show(name) {
    document.body.classList.add("loading");
    if (!pictures.has(name)) pictures.set(name, fetched(name));
    try {
      const layer = await pictures.get(name);
      if (list.value !== name) return; // another was chosen meanwhile
      image = layer.image;
      showLegend(layer);
      document.body.dataset.layer = name;
      refresh();
    } catch (error) {
      pictures.delete(name);
      find("legend").textContent = `The layer cannot be read: ${error.message}`;
    } finally {
      document.body.classList.remove("loading");
    }
  }

  function item(name, text, style) {
    const made = document.createElement(name);
    made.textContent = text;
    if (style) made.style.background = style;
    return made;
  }

  function showLegend(layer) {
    const legend = find("legend");
    legend.replaceChildren();
    if (layer.names) {
      layer.names.forEach((name, k) => {
        const swatch = item("span", "", layer.swatches[k]);
        swatch.className = "swatch";
        legend.append(swatch, item("span", name));
      });
      return;
    }
    const ramp = item("span", "", `linear-gradient(to right, ${layer.ramp.join(", ")})`);
    ramp.className = "ramp";
    const unit = layer.units ? ` ${layer.units.replace("degC", "°C")}` : "";
    legend.append(item("span", `${layer.low}`), ramp, item("span", `${layer.high}${unit}`));
  }

  // ---- what a reader does

  function choose(x, y) {
    const [column, row] = toMap(x, y).map(Math.floor);
    if (column < 0 || row < 0 || column >= spec.width || row >= spec.height) return;
    chosen = { row, column };
    refresh();
    document.dispatchEvent(new CustomEvent("frostmap:pixel", { detail: chosen }));
  }

  function showWhole() {
    view.scale = whole();
    view.x = (extent[0][0] + extent[0][1]) / 2;
    view.y = (extent[1][0] + extent[1][1]) / 2;
    refresh();
  }

  pen.hands({
    move,
    zoom,
    choose,
    whole: showWhole,
    hover: (x, y) => {
      const at = positionOf(...toMap(x, y));
      if (at) find("pointer").textContent = `${at[1].toFixed(3)}°, ${at[0].toFixed(3)}°`;
    },
  });
  find("nearer").addEventListener("click", () => zoom(1.6));
  find("farther").addEventListener("click", () => zoom(1 / 1.6));
  find("whole").addEventListener("click", showWhole);
  holes.addEventListener("change", refresh);
  holes.parentElement.hidden = !spec.boreholes.length;

  const groups = new Map();
  for (const layer of spec.layers) {
    if (!groups.has(layer.heading)) {
      const made = document.createElement("optgroup");
      made.label = layer.heading;
      groups.set(layer.heading, made);
      list.append(made);
    }
    groups.get(layer.heading).append(new Option(layer.title, layer.name));
  }
  list.addEventListener("change", () => show(list.value));
  new ResizeObserver(refresh).observe(canvas);
  showWhole();
  if (spec.layers.length) show(list.value);
  else find("legend").textContent = "The run has no map yet.";
})();
