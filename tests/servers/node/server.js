// A server of event streams made of a library of another project, which frames the events and sends them.
//
//     node server.js LIBRARY      sse-channel, better-sse or express-sse
//
// GET  /channels/NAME/events     the stream
// POST /channels/NAME            publish: a JSON list of {"id", "event", "data"}
//
// The first line of its output is its address.
'use strict';

const http = require('http');

// Each library's usual way to resume: what its documentation shows, or nothing where it shows nothing.
const LIBRARIES = {
  // Keeps the events and replays those with a greater id; ids that are numbers must be given as numbers.
  'sse-channel': () => {
    const SseChannel = require('sse-channel');
    const channel = new SseChannel({ historySize: 1e6, retryTimeout: 100, pingInterval: 50 });
    const typed = (id) => (Number.isNaN(Number(id)) ? id : Number(id));
    return {
      send: (event) => channel.send({ ...event, id: typed(event.id) }),
      connect: (request, response) => channel.addClient(request, response),
    };
  },
  // Names the last id of the client, writes data as JSON; the application keeps the events. An unknown id gets live ones.
  'better-sse': () => {
    const { createChannel, createSession } = require('better-sse');
    const channel = createChannel();
    const kept = [];
    return {
      send: ({ id, event, data }) => {
        kept.push([JSON.parse(data), event, id]);
        channel.broadcast(JSON.parse(data), event, { eventId: id });
      },
      connect: async (request, response) => {
        const session = await createSession(request, response, { retry: 100 });
        const last = kept.findIndex(([, , id]) => id === session.lastId);
        if (last >= 0) kept.slice(last + 1).forEach((each) => session.push(...each));
        channel.register(session);
      },
    };
  },
  // Counts the events of each connection from 0 and replays nothing.
  'express-sse': () => {
    const sse = new (require('express-sse'))([], { isSerialized: false });
    return { send: ({ event, data }) => sse.send(JSON.parse(data), event), connect: sse.init };
  },
};

const create = LIBRARIES[process.argv[2]];
const channels = new Map();

function channelOf(name) {
  if (!channels.has(name)) channels.set(name, create());
  return channels.get(name);
}

function publish(channel, request, response) {
  const pieces = [];
  request.on('data', (piece) => pieces.push(piece));
  request.on('end', () => {
    JSON.parse(Buffer.concat(pieces)).forEach(channel.send);
    response.writeHead(204).end();
  });
}

const server = http.createServer((request, response) => {
  const [, name, stream] = /^\/channels\/([^/]+)(\/events)?$/.exec(request.url) || [];
  if (!name) response.writeHead(404).end();
  else if (stream) channelOf(name).connect(request, response);
  else publish(channelOf(name), request, response);
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
