// The map on its canvas: which part of it is seen, and how it is drawn.

// Pixels around the pointer in which a dot is found, pixels around the whole map, and how far it can be magnified.
const REACH = 14;
const MARGIN = 28;
const MOST_ZOOM = 64;
// Names that are drawn, the room of a line, and how far above its topic's centre a name stands, so as not to cover it.
const MOST_NAMES = 40;
const LINE = 19;
const ABOVE = 14;

class PointMap {
  constructor(canvas, points, topics) {
    Object.assign(this, { canvas, points, topics, width: 0, height: 0, current: -1, names: [] });
    this.context = canvas.getContext("2d");
    this.area = this.extent(0, points.count);
    this.mark({});
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    this.resize();
  }

  // The smallest box around the points from `begin` to `end`.
  extent(begin, end) {
    const box = { left: SIDE, right: 0, top: SIDE, bottom: 0 };
    for (let index = begin; index < end; index++) {
      const [x, y] = [this.points.x(index), this.points.y(index)];
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y);
    }
    return box;
  }

  // A canvas of another size shows the same middle; a new one shows everything.
  resize() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (width === 0 || (width === this.width && height === this.height)) return;
    if (this.scale) {
      this.left += (this.width - width) / 2 / this.scale;
      this.top += (this.height - height) / 2 / this.scale;
    }
    Object.assign(this, { width, height });
    this.whole = this.fitting(this.area);
    if (this.scale) this.redraw();
    else this.show(this.area);
  }

  // The scale at which a box of places fills the canvas.
  fitting({ left, right, top, bottom }) {
    const across = (this.width - 2 * MARGIN) / Math.max(right - left, 1);
    return Math.min(across, (this.height - 2 * MARGIN) / Math.max(bottom - top, 1));
  }

  // Brings a box of places into view, with some of what is around it.
  show(box) {
    this.scale = Math.min(this.fitting(box), this.whole * MOST_ZOOM / 5);
    this.left = (box.left + box.right) / 2 - this.width / 2 / this.scale;
    this.top = (box.top + box.bottom) / 2 - this.height / 2 / this.scale;
    this.redraw();
  }

  // Makes one topic or some points stand out, and names some topics before all others.
  mark({ chosen = -1, matches = null, named = [] }) {
    Object.assign(this, { chosen, matches, named });
    this.redraw();
  }

  // Magnifies around a place of the canvas, in pixels.
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.whole * 0.7), this.whole * MOST_ZOOM);
    this.left += x / this.scale - x / scale;
    this.top += y / this.scale - y / scale;
    this.scale = scale;
    this.move(0, 0);
  }

  // Moves by so many pixels; the middle of the canvas stays on the map.
  move(x, y) {
    const within = (value, low, high) => Math.min(Math.max(value, low), high);
    const [halfWidth, halfHeight] = [this.width / 2 / this.scale, this.height / 2 / this.scale];
    this.left = within(this.left - x / this.scale + halfWidth, this.area.left, this.area.right) - halfWidth;
    this.top = within(this.top - y / this.scale + halfHeight, this.area.top, this.area.bottom) - halfHeight;
    this.redraw();
  }

  // Brings a point into view if it is not.
  reveal(index) {
    const { x, y } = this.pixel(index);
    if (x < 0 || y < 0 || x > this.width || y > this.height) this.move(this.width / 2 - x, this.height / 2 - y);
  }

  // Where a point is on the canvas, in pixels.
  pixel(index) {
    return { x: (this.points.x(index) - this.left) * this.scale, y: (this.points.y(index) - this.top) * this.scale };
  }

  // The point and the topic at a pixel of the canvas; -1 for none. Where no dot says it, a name stands for its topic.
  under(x, y) {
    const index = this.points.nearest(x / this.scale + this.left, y / this.scale + this.top, REACH / this.scale);
    const named = this.names.find((name) => Math.abs(name.x - x) < name.half && Math.abs(name.y - y) < LINE / 2);
    const ofDot = index < 0 ? -1 : this.points.topic[index];
    return { index, topic: ofDot < 0 && named ? named.topic : ofDot };
  }

  // Draws before the next picture of the screen, once, however much has changed.
  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const { context, points } = this;
    this.clear();
    const size = points.count > 20000 ? 1.5 : 2.4;
    const radius = Math.min(size * Math.sqrt(Math.max(this.scale / this.whole, 1)), 7);
    context.globalAlpha = 0.8;
    this.drawDots(points.firstOfNone, points.count, "noise", radius * 0.7);
    this.topics.forEach((topic, number) => this.drawDots(...this.rangeOf(number), topic.colour, radius));
    const dimmed = this.matches !== null || this.chosen >= 0;
    if (dimmed) this.fade();
    context.globalAlpha = 1;
    if (this.chosen >= 0) this.drawDots(...this.rangeOf(this.chosen), this.topics[this.chosen].colour, radius * 1.3);
    if (this.matches) this.drawDots(0, points.count, "ink", radius * 1.2, (index) => this.matches[index]);
    context.scale(this.ratio, this.ratio);
    this.drawNames(dimmed);
    this.drawRing(radius);
  }

  clear() {
    const { canvas, context } = this;
    this.ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.width, this.height].map((side) => Math.round(side * this.ratio));
    // A size that is set again costs as much as a new one.
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    this.colours = getComputedStyle(document.documentElement);
  }

  // All that is drawn so far steps back, however many dots lie on each other.
  fade() {
    const { canvas, context } = this;
    context.globalCompositeOperation = "destination-out";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "source-over";
  }

  rangeOf(topic) {
    const borders = this.points.borders[topic];
    return [borders[0], borders[borders.length - 1]];
  }

  // Draws in pixels of the screen, and to whole ones: a picture is copied faster than it is scaled.
  drawDots(begin, end, colour, radius, wanted = () => true) {
    const dot = this.dot(colour, radius);
    const half = dot.width / 2;
    const { canvas, context, points, left, top } = this;
    const scale = this.scale * this.ratio;
    for (let index = begin; index < end; index++) {
      const [x, y] = [(points.x(index) - left) * scale, (points.y(index) - top) * scale];
      const inView = x > -half && y > -half && x < canvas.width + half && y < canvas.height + half;
      if (inView && wanted(index)) context.drawImage(dot, Math.round(x - half), Math.round(y - half));
    }
  }

  // A dot as a small picture: copying it is faster than drawing a circle anew.
  dot(colour, radius) {
    const dot = document.createElement("canvas");
    dot.width = dot.height = Math.ceil(2 * radius * this.ratio);
    const half = dot.width / 2;
    const context = dot.getContext("2d");
    context.fillStyle = this.colour(colour);
    context.arc(half, half, half, 0, 2 * Math.PI);
    context.fill();
    return dot;
  }

  colour(name) {
    return this.colours.getPropertyValue(`--${name}`);
  }

  drawRing(radius) {
    if (this.current < 0) return;
    const { x, y } = this.pixel(this.current);
    this.context.beginPath();
    this.context.arc(x, y, radius + 5, 0, 2 * Math.PI);
    this.context.strokeStyle = this.colour("ink");
    this.context.lineWidth = 2;
    this.context.stroke();
  }

  // The names of the topics that stand out and of the largest in view, each where it covers no other.
  drawNames(dimmed) {
    const { context } = this;
    context.font = `600 15px ${getComputedStyle(this.canvas).fontFamily}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    this.names = [];
    this.named.forEach((topic) => this.drawName(topic));
    context.globalAlpha = dimmed ? 0.4 : 1;
    this.topics.forEach((_, topic) => this.drawName(topic));
    context.globalAlpha = 1;
  }

  drawName(topic) {
    const { context } = this;
    const { label, centre } = this.topics[topic];
    if (!centre || this.names.length === MOST_NAMES) return;
    const [x, y] = [(centre[0] - this.left) * this.scale, (centre[1] - this.top) * this.scale - ABOVE];
    if (x < 0 || y < 0 || x > this.width || y > this.height) return;
    const half = context.measureText(label).width / 2 + 3;
    const covers = (name) => Math.abs(name.x - x) < name.half + half && Math.abs(name.y - y) < LINE;
    if (this.names.some(covers)) return;
    this.names.push({ topic, x, y, half });
    context.lineWidth = 4;
    context.strokeStyle = this.colour("card");
    context.strokeText(label, x, y);
    context.fillStyle = this.colour("ink");
    context.fillText(label, x, y);
  }
}

