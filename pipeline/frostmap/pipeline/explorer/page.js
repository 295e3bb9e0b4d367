"use strict";
// What is known of the pixel that was chosen on the map: asked of the server, drawn as SVG.
(() => {
  const find = (id) => document.getElementById(id);
  const spec = JSON.parse(find("run").textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 640, LEFT = 44, RIGHT = 8;
  const MONTHS = ["J", "F", "M", "A", "M", "J", "J", "A", "S", "O", "N", "D"];
  const OVERPASSES = { terra_day: "Terra by day, about 10:30", aqua_day: "Aqua by day, about 13:30",
    terra_night: "Terra by night, about 22:30", aqua_night: "Aqua by night, about 1:30" };
  let chosen = null, year = spec.years[spec.years.length - 1], asked = 0;

  // ---- small makers

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function shape(name, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  }

  const number = (value, places = 2) =>
    value === null || value === undefined
      ? "–"
      : value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places }).replace("-", "−");

  function table(title, header, rows) {
    const head = element("tr", {}, ...header.map((cell) => element("th", { scope: "col" }, cell)));
    const body = rows.map(([first, ...rest]) =>
      element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((cell) => element("td", {}, cell))));
    return element("table", {}, element("caption", {}, title), element("thead", {}, head), element("tbody", {}, ...body));
  }

  // ---- charts of days

  const known = (values) => values.filter((value) => value !== null);

  function roundSteps(low, high, wanted) {
    const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const steps = [];
    for (let n = Math.ceil(low / step); n * step <= high + 1e-9; n++) steps.push(n * step);
    return steps;
  }

  function frame(title, height, days, low, high) {
    const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": title });
    const top = 20, bottom = height - 18;
    const x = (day) => LEFT + ((WIDTH - LEFT - RIGHT) * (day + 0.5)) / days;
    const y = (value) => bottom - ((bottom - top) * (value - low)) / (high - low);
    svg.append(shape("text", { x: LEFT, y: 12, class: "title" }, title));
    for (const value of roundSteps(low, high, 4)) {
      svg.append(shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: value ? "grid" : "zero" }));
      svg.append(shape("text", { x: LEFT - 5, y: y(value) + 3.5, class: "end" }, number(value, 0)));
    }
    for (let month = 0; month < 12; month++) {
      const from = (Date.UTC(2001, month, 1) - Date.UTC(2001, 0, 1)) / 864e5;
      const to = (Date.UTC(2001, month + 1, 1) - Date.UTC(2001, 0, 1)) / 864e5;
      svg.append(shape("text", { x: (x(from) + x(to)) / 2, y: height - 4, class: "middle" }, MONTHS[month]));
    }
    return { svg, x, y, top, bottom };
  }

  // The path of a line that is interrupted where nothing is known.
  function lineOf(values, x, y) {
    let path = "", drawing = false;
    values.forEach((value, day) => {
      if (value !== null) path += `${drawing ? "L" : "M"}${x(day).toFixed(1)} ${y(value).toFixed(1)}`;
      drawing = value !== null;
    });
    return path;
  }

  function bandOf(values, spread, x, y) {
    let path = "", from = -1;
    const close = (to) => {
      if (from < 0 || to - from < 2) return;
      const days = Array.from({ length: to - from }, (_, i) => from + i);
      const upper = days.map((d) => `${x(d).toFixed(1)} ${y(values[d] + spread[d]).toFixed(1)}`);
      const lower = days.reverse().map((d) => `${x(d).toFixed(1)} ${y(values[d] - spread[d]).toFixed(1)}`);
      path += `M${upper.join("L")}L${lower.join("L")}Z`;
    };
    for (let day = 0; day <= values.length; day++) {
      const here = day < values.length && values[day] !== null && (spread[day] ?? null) !== null;
      if (here && from < 0) from = day;
      if (!here) {
        close(day);
        from = -1;
      }
    }
    return path;
  }

  const dots = (values, keep, x, y, radius) =>
    values.map((value, day) => (value !== null && keep(day)
      ? `M${(x(day) - radius).toFixed(1)} ${y(value).toFixed(1)}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`
      : "")).join("");

  function lookChart(look, days, low, high) {
    const { svg, x, y, bottom } = frame(OVERPASSES[look.name] || look.name, 132, days, low, high);
    const kept = (day) => !look.kept.length || look.kept[day] === 1;
    svg.append(shape("path", { d: bandOf(look.filled, look.sigma, x, y), class: "sigma" }));
    svg.append(shape("path", { d: lineOf(look.filled, x, y), class: "filled" }));
    svg.append(shape("path", { d: dots(look.seen, (day) => !kept(day), x, y, 1.6), class: "doubtful" }));
    svg.append(shape("path", { d: dots(look.seen, kept, x, y, 1.6), class: "seen" }));
    const strip = (WIDTH - LEFT - RIGHT) / days;
    look.sky.forEach((sky, day) => {
      if (sky === null) return;
      svg.append(shape("rect", { x: x(day) - strip / 2, y: bottom + 1, width: strip + 0.3, height: 4, class: `sky sky-${sky}` }));
    });
    return pointed(svg, days, x, (day) => {
      const at = [`filled ${number(look.filled[day], 1)}${look.sigma.length ? ` ± ${number(look.sigma[day], 1)}` : ""} °C`];
      if (look.seen[day] !== null && look.seen.length) {
        at.push(`seen ${number(look.seen[day], 1)} °C${kept(day) ? "" : ", not trusted"}`);
      }
      if ((look.sky[day] ?? null) !== null) at.push(spec.sky[look.sky[day]], `flag ${look.flag[day]}`);
      return at.join(", ");
    });
  }

  function dailyChart(daily, sums) {
    const values = known(daily);
    const { svg, x, y } = frame("Daily mean, and what is added up", 150, daily.length, Math.min(0, ...values), Math.max(0, ...values));
    const width = (WIDTH - LEFT - RIGHT) / daily.length;
    daily.forEach((value, day) => {
      if (value === null) return;
      svg.append(shape("rect", { x: x(day) - width / 2, y: Math.min(y(0), y(value)), width: width + 0.3,
        height: Math.abs(y(value) - y(0)), class: value < 0 ? "freezing" : "thawing" }));
    });
    if (sums) {
      svg.append(shape("text", { x: WIDTH - RIGHT, y: 12, class: "end" },
        `DDF ${number(sums.freezing, 0)}, DDT ${number(sums.thawing, 0)} °C d (skin)`));
    }
    return pointed(svg, daily.length, x, (day) => `daily mean ${number(daily[day], 1)} °C`);
  }

  // Tell a day's numbers where the pointer is.
  function pointed(svg, days, x, tell) {
    const line = shape("line", { y1: 20, y2: svg.viewBox.baseVal.height - 18, class: "pointer", visibility: "hidden" });
    svg.append(line);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * WIDTH;
      const day = Math.floor(((at - LEFT) / (WIDTH - LEFT - RIGHT)) * days);
      if (day < 0 || day >= days) return;
      line.setAttribute("x1", x(day));
      line.setAttribute("x2", x(day));
      line.setAttribute("visibility", "visible");
      const date = new Date(Date.UTC(Number(year), 0, 1 + day)).toISOString().slice(0, 10);
      find("day").textContent = `${date}: ${tell(day)}`;
    });
    svg.addEventListener("pointerleave", () => line.setAttribute("visibility", "hidden"));
    return svg;
  }

  // ---- what is told of a pixel

  function showSummary(pixel) {
    const place = `${number(Math.abs(pixel.latitude), 4)}° ${pixel.latitude < 0 ? "S" : "N"}, ` +
      `${number(Math.abs(pixel.longitude), 4)}° ${pixel.longitude < 0 ? "W" : "E"}`;
    find("where").textContent = `${place}; row ${pixel.row}, column ${pixel.column}${pixel.inside ? "" : "; outside the region"}`;
    const epochs = pixel.epochs;
    const row = (title, key, places) => [title, ...epochs.map((epoch) => number(epoch[key], places))];
    const parts = [
      table("What it became", ["", ...epochs.map((epoch) => epoch.title)], [
        ["class", ...epochs.map((epoch) => epoch.class || "–")],
        row("probability of permafrost", "probability", 2),
        row("frost number F", "frost_number", 3),
        row("E", "e", 3),
        row("standard error of E", "e_sigma", 3),
        ["E, 5 % to 95 %", ...epochs.map((epoch) => `${number(epoch.e_lower, 3)} to ${number(epoch.e_upper, 3)}`)],
        row("permafrost needs E below", "critical_e", 3),
        row("DDF [°C d]", "ddf", 0),
        row("DDT of the ground [°C d]", "ddt", 0),
      ]),
    ];
    if (pixel.years.length) {
      parts.push(table("Sums of the skin by year [°C d]", ["year", "DDF", "DDT", "days"], pixel.years.map((each) =>
        [each.year, number(each.freezing, 0), number(each.thawing, 0), number(each.valid_days, 0)])));
    }
    if (pixel.predictors.length) {
      parts.push(table(`Predictors of E${pixel.cluster === null ? "" : `; soil cluster ${pixel.cluster}`}`,
        ["", ...epochs.map((epoch) => epoch.title)], pixel.predictors.map((each) =>
          [each.units === "1" ? each.name : `${each.name} [${each.units}]`, ...epochs.map((epoch) => number(each.values[epoch.epoch], 2))])));
    }
    const hole = pixel.borehole;
    parts.push(element("p", { id: "borehole" }, hole
      ? `Nearest borehole: ${hole.name}, ${number(hole.km, 1)} km away; observed ${words(hole.observed)}, mapped ${words(hole.mapped)}.`
      : "There are no boreholes."));
    find("summary").replaceChildren(...parts);
  }

  const words = (given) => (given === null ? "nothing" : String(given).replaceAll("_", " "));

  function showYear(found, pixel) {
    const parts = [];
    const values = known(found.overpasses.flatMap((look) => [...look.seen, ...look.filled]));
    const sums = pixel.years.find((each) => each.year === found.year);
    if (values.length) {
      const low = Math.floor(Math.min(...values) / 5) * 5, high = Math.ceil(Math.max(...values) / 5) * 5 || 5;
      const days = Math.max(...found.overpasses.map((look) => Math.max(look.seen.length, look.filled.length)));
      if (known(found.daily).length) parts.push(dailyChart(found.daily, sums));
      parts.push(...found.overpasses.map((look) => lookChart(look, days, low, high)));
    } else {
      parts.push(element("p", {}, "Nothing was seen here, and nothing filled."));
    }
    find("charts").replaceChildren(...parts);
  }

  async function ask(path) {
    const answer = await fetch(path);
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  }

  async function show() {
    if (!chosen) return;
    const turn = ++asked, at = `row=${chosen.row}&column=${chosen.column}`, began = performance.now();
    document.body.classList.add("busy");
    try {
      const [pixel, days] = await Promise.all([ask(`pixel?${at}`), year ? ask(`year?${at}&year=${year}`) : null]);
      if (turn !== asked) return; // another pixel was chosen meanwhile
      showSummary(pixel);
      if (days) showYear(days, pixel);
      document.body.dataset.milliseconds = Math.round(performance.now() - began);
      document.body.dataset.shown = `${chosen.row} ${chosen.column} ${year || ""}`;
    } catch (error) {
      find("where").textContent = `The pixel cannot be read: ${error.message}`;
    } finally {
      if (turn === asked) document.body.classList.remove("busy");
    }
  }

  // ---- what a reader does

  document.addEventListener("frostmap:pixel", (event) => {
    chosen = event.detail;
    find("hint").hidden = true;
    show();
  });

  spec.years.forEach((each) => {
    const button = element("button", { type: "button", "aria-pressed": String(each === year) }, each);
    button.addEventListener("click", () => {
      year = each;
      for (const other of find("years").children) other.setAttribute("aria-pressed", String(other === button));
      show();
    });
    find("years").append(button);
  });
})();
