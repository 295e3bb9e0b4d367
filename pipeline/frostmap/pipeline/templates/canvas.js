"use strict";
// What the report's map and that of `frostmap view` share: a canvas that is drawn once a frame, marks on it, and the hands
// that move it. Lengths are CSS pixels, from the canvas's upper left corner.
function mapCanvas(canvas, draw) {
  const context = canvas.getContext("2d");
  const FONT = "12px system-ui, sans-serif";
  let asked = false;

  // Draw with the next frame, however often it is asked for until then.
  function later() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  }

  // Give the canvas the screen's own pixels; return how many there are to a CSS pixel, none where it is not shown.
  function fit() {
    if (!canvas.clientWidth || !canvas.clientHeight) return 0;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const across = Math.round(canvas.clientWidth * ratio), down = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    return ratio;
  }

  // ---- marks

  function text(written, x, y, align, font = FONT) {
    context.font = font;
    context.textAlign = align;
    context.textBaseline = "middle";
    context.lineWidth = 3;
    context.lineJoin = "round";
    context.strokeStyle = "#ffffff";
    context.strokeText(written, x, y);
    context.fillStyle = "#1d2327";
    context.fillText(written, x, y);
  }

  // A line in white and on it one in a colour, so that it is seen on any ground.
  function stroke(colour, path, thickness = 2) {
    for (const [ink, width] of [["#ffffff", thickness + 2], [colour, thickness]]) {
      context.strokeStyle = ink;
      context.lineWidth = width;
      context.beginPath();
      path();
      context.stroke();
    }
  }

  function cross(x, y, r, colour) {
    stroke(colour, () => {
      context.moveTo(x - r, y);
      context.lineTo(x + r, y);
      context.moveTo(x, y - r);
      context.lineTo(x, y + r);
    });
  }

  // The place that Enter chooses, while keys have the canvas.
  function aim() {
    if (document.activeElement !== canvas || !canvas.matches(":focus-visible")) return;
    cross(canvas.clientWidth / 2, canvas.clientHeight / 2, 12, "#8f3300");
  }

  // A circle where permafrost was found, a square where none was; larger and purple where the map says otherwise.
  function borehole(x, y, permafrost, agrees) {
    const r = agrees ? 4 : 5.5;
    context.beginPath();
    if (permafrost) context.arc(x, y, r, 0, 2 * Math.PI);
    else context.rect(x - r, y - r, 2 * r, 2 * r);
    context.fillStyle = agrees ? "#ffffff" : "#cc79a7";
    context.fill();
    context.strokeStyle = "#000000";
    context.lineWidth = 1.2;
    context.stroke();
  }

  // ---- hands: keys, mouse, fingers

  // `move` is given how far the view goes to the right and down; `zoom` a factor and the point that stays; `choose` a
  // point; `whole` nothing; `hover` a point, `key` a key that is none of these and says whether it was for it. Where the
  // page `scrolls`, the wheel scrolls it until the map is chosen, by a click or a key.
  function hands({ move, zoom, choose, whole, hover = () => {}, key = () => false, scrolls = false }) {
    const held = new Map(); // fingers and buttons that are down, by number
    let moved = 0;
    const middle = () => [canvas.clientWidth / 2, canvas.clientHeight / 2];
    const placeOf = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const keys = {
      ArrowLeft: () => move(-canvas.clientWidth / 8, 0),
      ArrowRight: () => move(canvas.clientWidth / 8, 0),
      ArrowUp: () => move(0, -canvas.clientHeight / 8),
      ArrowDown: () => move(0, canvas.clientHeight / 8),
      "+": () => zoom(1.5, ...middle()),
      "=": () => zoom(1.5, ...middle()),
      "-": () => zoom(1 / 1.5, ...middle()),
      "−": () => zoom(1 / 1.5, ...middle()),
      0: whole,
      Home: whole,
      Enter: () => choose(...middle()),
      " ": () => choose(...middle()),
    };

    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (keys[event.key]) keys[event.key]();
      else if (!key(event.key)) return;
      event.preventDefault();
    });
    canvas.addEventListener("focus", later);
    canvas.addEventListener("blur", later);

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, placeOf(event));
      if (held.size === 1) moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = placeOf(event), before = held.get(event.pointerId);
      hover(...now);
      if (!before) return;
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (held.size === 1) {
        if (moved > 4) move(before[0] - now[0], before[1] - now[1]);
      } else {
        const other = [...held].find(([number]) => number !== event.pointerId)[1];
        const apart = (at) => Math.max(10, Math.hypot(at[0] - other[0], at[1] - other[1]));
        zoom(apart(now) / apart(before), other[0], other[1]);
      }
      held.set(event.pointerId, now);
    });
    canvas.addEventListener("pointerup", (event) => {
      const last = held.size === 1 && held.has(event.pointerId);
      held.delete(event.pointerId);
      if (last && moved <= 4) choose(...placeOf(event));
    });
    canvas.addEventListener("pointercancel", (event) => held.delete(event.pointerId));
    canvas.addEventListener("dblclick", (event) => zoom(2, ...placeOf(event)));
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (scrolls && document.activeElement !== canvas && !event.ctrlKey) return;
        event.preventDefault();
        zoom(Math.exp(-Math.min(Math.max(event.deltaY, -100), 100) / 400), ...placeOf(event));
      },
      { passive: false },
    );
  }

  return { context, later, fit, text, stroke, cross, aim, borehole, hands };
}
