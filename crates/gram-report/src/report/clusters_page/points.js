// The pairs that are drawn: where they lie, what they are of, and a grid that finds the nearest one.

// Places are whole numbers below this.
const SIDE = 65536;
// Cells of a side of the grid, and the shift that leads from a place to its cell.
const CELLS = 256;
const SHIFT = 8;

const cellOf = (place) => Math.min(Math.max(Math.floor(place) >> SHIFT, 0), CELLS - 1);

class Points {
  // Points come by topic and domain, those without a topic last: how many of each there are says where each belongs.
  constructor({ places, captions, topics, thumbnails }) {
    const bytes = Uint8Array.from(atob(places), (letter) => letter.charCodeAt(0));
    this.places = new Uint16Array(bytes.buffer);
    this.captions = captions;
    this.count = captions.length;
    this.thumbnails = new Map(thumbnails);
    this.topic = new Int32Array(this.count).fill(-1);
    this.domain = new Int32Array(this.count).fill(-1);
    // For every topic, where its domains begin; the last number is where it ends.
    this.borders = [];
    let begin = 0;
    topics.forEach((topic, number) => {
      const borders = [begin];
      topic.points.forEach((points, domain) => {
        this.topic.fill(number, begin, begin + points);
        this.domain.fill(domain, begin, begin + points);
        begin += points;
        borders.push(begin);
      });
      this.borders.push(borders);
    });
    this.firstOfNone = begin;
    this.sortIntoCells();
  }

  x(index) { return this.places[2 * index]; }
  y(index) { return this.places[2 * index + 1]; }

  // The address of a point's picture, if it has one.
  picture(index) {
    const file = this.thumbnails.get(index);
    return file && `data:image/jpeg;base64,${file}`;
  }

  // The points of a domain that have a picture.
  pictured(topic, domain) {
    const found = [];
    for (let index = this.borders[topic][domain]; index < this.borders[topic][domain + 1]; index++) {
      if (this.thumbnails.has(index)) found.push(index);
    }
    return found;
  }

  // Counting sort: `order` holds the points cell by cell, `starts` where each cell begins.
  sortIntoCells() {
    const cell = (index) => cellOf(this.y(index)) * CELLS + cellOf(this.x(index));
    this.starts = new Uint32Array(CELLS * CELLS + 1);
    this.order = new Uint32Array(this.count);
    for (let index = 0; index < this.count; index++) this.starts[cell(index) + 1]++;
    for (let number = 0; number < CELLS * CELLS; number++) this.starts[number + 1] += this.starts[number];
    const next = this.starts.slice();
    for (let index = 0; index < this.count; index++) this.order[next[cell(index)]++] = index;
  }

  // The point nearest to a place, within `reach`; -1 if there is none. It looks at the cells in reach alone, of which
  // those of a row lie one after the other.
  nearest(x, y, reach) {
    let [best, least] = [-1, reach * reach];
    for (let row = cellOf(y - reach); row <= cellOf(y + reach); row++) {
      const end = this.starts[row * CELLS + cellOf(x + reach) + 1];
      for (let place = this.starts[row * CELLS + cellOf(x - reach)]; place < end; place++) {
        const index = this.order[place];
        const distance = (this.x(index) - x) ** 2 + (this.y(index) - y) ** 2;
        if (distance <= least) [best, least] = [index, distance];
      }
    }
    return best;
  }

  // The nearest point within a quarter turn of the direction `[across, down]`.
  next(from, [across, down]) {
    let [best, least] = [from, Infinity];
    for (let index = 0; index < this.count; index++) {
      const [x, y] = [this.x(index) - this.x(from), this.y(index) - this.y(from)];
      const ahead = x * across + y * down;
      const aside = Math.abs(x * down) + Math.abs(y * across);
      if (ahead > 0 && aside <= ahead && ahead + aside < least) [best, least] = [index, ahead + aside];
    }
    return best;
  }
}

