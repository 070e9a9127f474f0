// What the scripts of all pages build with.
"use strict";

const byId = (id) => document.getElementById(id);

// Text only ever enters the page as text, never as markup.
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// A picture that says what it shows.
function picture(source, caption) {
  const image = element("img");
  image.src = source;
  image.alt = caption;
  image.title = caption;
  return image;
}

// Puts `card` beside a place on the screen, on the side of `box`, which holds it, with more room.
function putBeside(card, box, { x, y }) {
  const area = box.getBoundingClientRect();
  const [left, top] = [x - area.left, y - area.top];
  const onLeft = left > area.width / 2;
  card.style.left = onLeft ? "" : `${left + 16}px`;
  card.style.right = onLeft ? `${area.width - left + 16}px` : "";
  card.style.top = `${Math.max(0, Math.min(top - 20, area.height - card.offsetHeight))}px`;
}

// The steps of the arrow keys.
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

