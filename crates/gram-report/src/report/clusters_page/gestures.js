// Wheel, pointer and fingers on the map: they move and magnify it, and say which pixel is pointed at or chosen.

// A pointer that moves less than this many pixels between press and release has clicked.
const STEADY = 4;

function followGestures(canvas, map, { point, choose, leave }) {
  const pressed = new Map();
  let wandered = 0;
  const pixel = (event) => ({ x: event.offsetX, y: event.offsetY });
  const distance = (one, other) => Math.hypot(one.x - other.x, one.y - other.y);

  function drag(event) {
    const [before, now] = [pressed.get(event.pointerId), pixel(event)];
    const other = [...pressed].find(([pointer]) => pointer !== event.pointerId)?.[1];
    pressed.set(event.pointerId, now);
    wandered += distance(before, now);
    if (wandered < STEADY) return;
    leave();
    // Two fingers: each moves the map by half, and it is magnified as their distance grows.
    const share = other ? 0.5 : 1;
    map.move((now.x - before.x) * share, (now.y - before.y) * share);
    if (other) {
      const factor = distance(now, other) / Math.max(distance(before, other), 1);
      map.zoom(factor, (now.x + other.x) / 2, (now.y + other.y) / 2);
    }
  }

  function release(event) {
    if (!pressed.delete(event.pointerId)) return;
    if (event.type === "pointerup" && pressed.size === 0 && wandered < STEADY) choose(pixel(event));
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (pressed.size === 0) wandered = 0;
    pressed.set(event.pointerId, pixel(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (pressed.has(event.pointerId)) drag(event);
    else point(pixel(event));
  });
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? 16 : 1);
    map.zoom(Math.exp(-pixels / 500), event.offsetX, event.offsetY);
  }, { passive: false });
}

