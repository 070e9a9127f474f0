// Brings the page to life: what is under the pointer, search, the list of topics, a topic's domains side by side.
(() => {
  const data = JSON.parse(byId("clusters-data").textContent);
  const { topics, captions } = data;
  const points = new Points(data);
  const canvas = document.querySelector("#map canvas");
  const map = new PointMap(canvas, points, topics);
  const card = byId("dot-card");
  const lowerCaptions = captions.map((caption) => caption.toLowerCase());
  const lowerWords = topics.map(({ label, words }) => [label, ...words.map(([word]) => word)].join("\n").toLowerCase());
  const MOST_LISTED = 300;
  const MOST_CAPTIONS = 4;
  const pictureOf = (index) => picture(points.picture(index), captions[index]);
  const counted = (number) => number.toLocaleString("en");

  function show(index) {
    if (index === map.current) return;
    map.current = index;
    map.redraw();
    card.hidden = index < 0;
    if (index < 0) return;
    const [topic, domain] = [points.topic[index], points.domain[index]];
    const place = topic < 0 ? "no topic" : `topic ${topics[topic].label}, domain ${domain + 1}`;
    card.replaceChildren(...pictures(index), element("p", "caption", captions[index]), element("p", "quiet", place));
    map.reveal(index);
    const box = canvas.getBoundingClientRect();
    const { x, y } = map.pixel(index);
    putBeside(card, canvas, { x: box.left + x, y: box.top + y });
  }

  // The picture of a point; of one that has none, some of its domain, which look alike.
  function pictures(index) {
    if (points.picture(index)) return [pictureOf(index)];
    if (points.topic[index] < 0) return [];
    const others = points.pictured(points.topic[index], points.domain[index]).slice(0, 3);
    if (others.length === 0) return [];
    const row = element("div", "pictures");
    row.append(...others.map(pictureOf));
    return [row, element("p", "quiet", "others of its domain")];
  }

  // Opens a topic below the map; `marked` also marks it there.
  function open(number, marked = true) {
    const topic = topics[number];
    if (!topic) return;
    if (marked) choose(number);
    byId("topic-list").querySelectorAll("button").forEach((button) => {
      button.setAttribute("aria-pressed", String(button.dataset.topic === String(number)));
    });
    const heading = element("h3", topic.colour, topic.label);
    heading.append(element("span", "quiet", ` ${counted(topic.size)} pairs`));
    const domains = element("div", "domains");
    domains.append(...topic.domains.map((size, domain) => domainColumn(number, domain, size)));
    byId("topic").dataset.topic = number;
    byId("topic").replaceChildren(heading, element("p", "quiet", topic.named), nearest(topic), wordList(topic), domains);
    if (topic.centre) heading.append(" ", closer(number));
  }

  function closer(number) {
    const button = element("button", "ink", "Show on the map");
    button.type = "button";
    button.addEventListener("click", () => {
      choose(number);
      map.show(map.extent(...map.rangeOf(number)));
      canvas.scrollIntoView({ block: "nearest" });
    });
    return button;
  }

  // The pairs whose captions are nearest to the middle of the topic.
  function nearest(topic) {
    const list = element("div", "nearest");
    list.append(...topic.nearest.map(([caption, source]) => {
      const entry = element("p", "caption", caption);
      if (source) entry.prepend(picture(`data:image/jpeg;base64,${source}`, caption), " ");
      return entry;
    }));
    return list;
  }

  const choose = (number) => map.mark({ chosen: number, named: [number] });

  // The words by which the topic was named, with their scores, as bars beside each other.
  function wordList(topic) {
    const list = element("ol", "words");
    const highest = Math.max(...topic.words.map(([, score]) => score), 1e-9);
    list.append(...topic.words.map(([word, score]) => {
      const entry = element("li", "", word);
      const bar = element("span", `bar ${topic.colour}`);
      bar.style.width = `${(100 * score) / highest}%`;
      entry.append(element("span", "quiet", ` ${Number(score).toFixed(2)}`), bar);
      return entry;
    }));
    return list;
  }

  function domainColumn(number, domain, size) {
    const column = element("section", "domain");
    const row = element("div", "pictures");
    row.append(...points.pictured(number, domain).map(pictureOf));
    column.append(element("h4", "", `Domain ${domain + 1}, ${counted(size)} pairs`), row);
    const [begin, end] = points.borders[number].slice(domain, domain + 2);
    for (let index = begin; index < Math.min(end, begin + MOST_CAPTIONS); index++) {
      column.append(element("p", "caption", captions[index]));
    }
    return column;
  }

  function search() {
    const word = byId("search").value.trim().toLowerCase();
    const all = topics.map((_, number) => number);
    if (!word) {
      byId("found").textContent = "";
      map.mark({});
      list(all);
      return;
    }
    const matches = Uint8Array.from(lowerCaptions, (caption) => caption.includes(word));
    const found = new Set(all.filter((number) => lowerWords[number].includes(word)));
    let pairs = 0;
    // Points come topic by topic: what they add comes in the order of the topics too.
    matches.forEach((matched, index) => {
      pairs += matched;
      if (matched && points.topic[index] >= 0) found.add(points.topic[index]);
    });
    byId("found").textContent = `shown pairs: ${counted(pairs)}, topics: ${counted(found.size)}`;
    map.mark({ matches, named: [...found] });
    list([...found]);
  }

  function list(numbers) {
    const listed = numbers.slice(0, MOST_LISTED);
    byId("listed").textContent = listed.length < numbers.length
      ? `${counted(listed.length)} of ${counted(numbers.length)} topics; a search finds the others.` : "";
    byId("topic-list").replaceChildren(...listed.map((number) => {
      const button = element("button", topics[number].colour, topics[number].label);
      button.type = "button";
      button.dataset.topic = number;
      button.setAttribute("aria-pressed", String(byId("topic").dataset.topic === String(number)));
      button.append(element("span", "quiet", ` ${counted(topics[number].size)}`));
      button.addEventListener("click", () => open(number));
      return button;
    }));
  }

  followGestures(canvas, map, {
    point: ({ x, y }) => show(map.under(x, y).index),
    choose({ x, y }) {
      const { index, topic } = map.under(x, y);
      show(index);
      if (topic >= 0) open(topic);
      else search();
    },
    leave: () => show(-1),
  });

  const KEYS = {
    Enter: () => open(points.topic[map.current]),
    Escape() {
      show(-1);
      search();
    },
    "+": () => map.zoom(1.5),
    "=": () => map.zoom(1.5),
    "-": () => map.zoom(1 / 1.5),
    0: () => map.show(map.area),
  };
  canvas.addEventListener("blur", () => show(-1));
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || points.count === 0) return;
    const direction = ARROWS[event.key];
    if (direction) show(map.current < 0 ? 0 : points.next(map.current, direction));
    else if (KEYS[event.key]) KEYS[event.key]();
    else return;
    event.preventDefault();
  });
  byId("closer").addEventListener("click", () => map.zoom(1.5));
  byId("farther").addEventListener("click", () => map.zoom(1 / 1.5));
  byId("whole").addEventListener("click", () => map.show(map.area));
  byId("search").addEventListener("input", search);
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") byId("topic-list").querySelector("button")?.click();
  });
  search();
  open(0, false);

  // For whoever drives this page from outside: where a point is on the screen, and what it shows.
  window.gramMap = {
    count: points.count,
    caption: (index) => captions[index],
    topic: (index) => topics[points.topic[index]]?.label,
    hasPicture: (index) => points.thumbnails.has(index),
    screen(index) {
      const box = canvas.getBoundingClientRect();
      const { x, y } = map.pixel(index);
      return { x: box.left + x, y: box.top + y };
    },
  };
})();
