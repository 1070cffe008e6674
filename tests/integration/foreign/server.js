// A server of event streams made of sse-channel, a library of another project: it frames, keeps and replays the events.
//
//     node server.js JOURNAL EVENTS_PER_SECOND
//
// GET /channels/numbers/events   ids 1, 2, 3, ...
// GET /channels/texts/events     ids are texts (UUIDs of version 7, which the library compares as texts)
// POST /end                      publish no more; answers {"numbers": 123, "texts": 123}
//
// Publishes from its start on. The first line of its output is its address; each connection then writes one line, with
// the Last-Event-ID it came with. Every event is in the journal before the library has it.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const SseChannel = require('sse-channel');

const TICK = 20; // milliseconds between two bursts

// What streams of others hold that a Mix server's do not: text that is no JSON, several lines, no event name, no data.
const KINDS = [
  (n) => ({ event: 'reading', data: JSON.stringify({ n, unit: '°C', value: n / 7 }) }),
  (n) => ({ data: `no name, no JSON: ${n}` }),
  (n) => ({ event: 'lines', data: `first of ${n}\n\n  an indented one\nid: 7\n: no comment\ndata\n` }),
  (n) => ({ event: 'a name with blanks', data: ` ${'😀'.repeat(n % 5)}\u2028 \u0001 "quoted" \\ tab\t` }),
  (n) => ({ event: 'json.lines', data: JSON.stringify({ n, list: [1, 2.0, 1e30, null] }, null, 2) }),
  () => ({ event: 'nothing', data: '' }),
  (n) => ({ data: `{"n":${n},"cut short` }),
];

const IDS = {
  numbers: (n) => n,
  texts: (n) => {
    const millisecond = Date.now().toString(16).padStart(12, '0');
    const random = crypto.randomBytes(8).toString('hex');
    // Twelve bits of counter behind the time, as RFC 9562 allows: ids of one millisecond rise too.
    const counter = (n & 0xfff).toString(16).padStart(3, '0');
    return `${millisecond.slice(0, 8)}-${millisecond.slice(8)}-7${counter}-8${random.slice(0, 3)}-${random.slice(3, 15)}`;
  },
};

const [journalPath, rate] = process.argv.slice(2);
const journal = fs.openSync(journalPath, 'wx');
const channels = Object.fromEntries(
  Object.keys(IDS).map((name) => [
    name,
    { published: 0, stream: new SseChannel({ historySize: 1e6, retryTimeout: 100, pingInterval: 50 }) },
  ]),
);

function publish(name) {
  const channel = channels[name];
  const n = ++channel.published;
  const id = IDS[name](n);
  const { event, data } = KINDS[n % KINDS.length](n);
  const entry = { session: name, sequence: n, id: String(id), event: event || 'message', data };
  fs.writeSync(journal, `${JSON.stringify(entry)}\n`);
  channel.stream.send({ id, event, data });
}

let last = Date.now();
let owed = 0;
const flow = setInterval(() => {
  const now = Date.now();
  owed += ((now - last) * Number(rate)) / 1000;
  last = now;
  for (; owed >= 1; owed -= 1) Object.keys(channels).forEach(publish);
}, TICK);

const server = http.createServer((request, response) => {
  const channel = channels[(/^\/channels\/([^/]+)\/events$/.exec(request.url) || [])[1]];
  if (request.method === 'POST' && request.url === '/end') {
    clearInterval(flow);
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(Object.fromEntries(Object.entries(channels).map(([name, one]) => [name, one.published]))));
  } else if (request.method === 'GET' && channel) {
    console.log(JSON.stringify({ url: request.url, last_event_id: request.headers['last-event-id'] }));
    channel.stream.addClient(request, response);
  } else {
    response.writeHead(404).end();
  }
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
