// Brings the map of the topics to life: names under the pointer, search, a topic's domains side by side.
(() => {
  const holder = document.getElementById("topic-data");
  if (!holder) return;
  const { dots, topics, thumbnails } = JSON.parse(holder.textContent);
  const [X, Y, TOPIC, DOMAIN, THUMBNAIL, CAPTION] = [0, 1, 2, 3, 4, 5];
  const MOST_PICTURES = 24;
  const REACH = 14;
  const map = byId("map");
  const svg = map.querySelector("svg");
  const card = byId("dot-card");
  const ring = byId("ring");
  let current = -1;

  const pictureOf = (dot) => picture(thumbnails[dot[THUMBNAIL]], dot[CAPTION]);

  function show(index) {
    current = index;
    const dot = dots[index];
    ring.setAttribute("visibility", dot ? "visible" : "hidden");
    card.hidden = !dot;
    if (!dot) return;
    ring.setAttribute("cx", dot[X]);
    ring.setAttribute("cy", dot[Y]);
    const topic = topics[dot[TOPIC]];
    const place = topic ? `topic ${topic.word}` + (dot[DOMAIN] < 0 ? "" : `, domain ${dot[DOMAIN] + 1}`) : "no topic";
    card.replaceChildren();
    if (dot[THUMBNAIL] >= 0) card.append(pictureOf(dot));
    card.append(element("p", "caption", dot[CAPTION]), element("p", "quiet", place));
    putBeside(card, map, new DOMPoint(dot[X], dot[Y]).matrixTransform(svg.getScreenCTM()));
  }

  function nearest(x, y) {
    let [best, least] = [-1, REACH * REACH];
    dots.forEach((dot, index) => {
      const distance = (dot[X] - x) ** 2 + (dot[Y] - y) ** 2;
      if (distance < least) [best, least] = [index, distance];
    });
    return best;
  }

  function under(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return nearest(at.x, at.y);
  }

  // The nearest dot within a quarter turn of the arrow's direction.
  function next([across, down]) {
    if (current < 0) return 0;
    const from = dots[current];
    let [best, least] = [current, Infinity];
    dots.forEach((dot, index) => {
      const [x, y] = [dot[X] - from[X], dot[Y] - from[Y]];
      const ahead = x * across + y * down;
      const aside = Math.abs(x * down) + Math.abs(y * across);
      if (ahead > 0 && aside <= ahead && ahead + aside < least) [best, least] = [index, ahead + aside];
    });
    return best;
  }

  function open(number) {
    const topic = topics[number];
    if (!topic) return;
    svg.classList.add("dimmed");
    svg.querySelectorAll(".dots path").forEach((path) => {
      path.classList.toggle("chosen", path.dataset.topic === String(number));
    });
    byId("topic-list").querySelectorAll("button").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.topic === String(number)));
    });
    const heading = element("h3", topic.colour, topic.word);
    heading.append(element("span", "quiet", ` ${topic.size} pairs`));
    const domains = element("div", "domains");
    topic.domains.forEach((size, domain) => domains.append(domainColumn(number, domain, size)));
    byId("topic").replaceChildren(heading, element("p", "quiet", topic.words.join(", ")), domains);
  }

  function domainColumn(number, domain, size) {
    const column = element("section", "domain");
    column.append(element("h4", "", `Domain ${domain + 1}, ${size} pairs`));
    const members = dots.filter((dot) => dot[TOPIC] === number && dot[DOMAIN] === domain);
    const pictured = members.filter((dot) => dot[THUMBNAIL] >= 0).slice(0, MOST_PICTURES);
    const pictures = element("div", "pictures");
    pictures.append(...pictured.map(pictureOf));
    column.append(pictures);
    if (pictured.length === 0) {
      column.append(...members.slice(0, 8).map((dot) => element("p", "caption", dot[CAPTION])));
    }
    return column;
  }

  function search() {
    const word = byId("search").value.trim().toLowerCase();
    const inTopic = topics.map((topic) => topic.words.concat(topic.word).some((w) => w.toLowerCase().includes(word)));
    const matches = word ? dots.filter((dot) => dot[CAPTION].toLowerCase().includes(word)) : [];
    const topicsOfMatches = new Set(matches.map((dot) => dot[TOPIC]).filter((topic) => topic >= 0));
    byId("matches").setAttribute("d", matches.map((dot) => `M${dot[X]} ${dot[Y]}h0`).join(""));
    byId("found").textContent = word ? `pairs: ${matches.length}, topics: ${topicsOfMatches.size}` : "";
    svg.classList.toggle("dimmed", word !== "");
    svg.querySelectorAll(".chosen").forEach((path) => path.classList.remove("chosen"));
    byId("topic-list").querySelectorAll("button").forEach((button) => {
      const number = Number(button.dataset.topic);
      button.hidden = word !== "" && !inTopic[number] && !topicsOfMatches.has(number);
    });
  }

  function list() {
    const bySize = topics.map((_, number) => number).sort((a, b) => topics[b].size - topics[a].size);
    byId("topic-list").append(...bySize.map((number) => {
      const button = element("button", topics[number].colour, topics[number].word);
      button.type = "button";
      button.dataset.topic = number;
      button.append(element("span", "quiet", ` ${topics[number].size}`));
      button.addEventListener("click", () => open(number));
      return button;
    }));
    if (bySize.length > 0) open(bySize[0]);
    svg.classList.remove("dimmed");
  }

  svg.addEventListener("mousemove", (event) => show(under(event)));
  svg.addEventListener("mouseleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("click", (event) => {
    const dot = dots[under(event)];
    if (dot && dot[TOPIC] >= 0) open(dot[TOPIC]);
    else search();
  });
  svg.addEventListener("keydown", (event) => {
    if (ARROWS[event.key]) {
      show(next(ARROWS[event.key]));
      event.preventDefault();
    } else if (event.key === "Enter" && dots[current]) {
      open(dots[current][TOPIC]);
    } else if (event.key === "Escape") {
      show(-1);
      search();
    }
  });
  byId("search").addEventListener("input", search);
  list();
})();
