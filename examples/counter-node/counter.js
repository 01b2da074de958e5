// The counter in Node, without dependencies: the language and the API of the prototype's test app.
//
// It adds 1 each 100 ms. GET /state, POST /state or /restore {"count": N} ({"counter": N} is taken too), GET /restore, GET /health,
// POST /kill, POST /hang. At its start, and never after a restore, it prints a line with its run id.
"use strict";
const { createServer } = require("node:http");
const { randomBytes } = require("node:crypto");

const TICK_MS = 100;
const MOST_BYTES = 1 << 16;
const run = randomBytes(6).toString("hex");
const started = new Date().toISOString();
let count = 0;
let restored = false;

const state = () => ({ run, count, started });

function reply(response, status, body) {
  const data = JSON.stringify(body) + "\n";
  // One connection per request: an open connection would be in the checkpoint.
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(data), Connection: "close" });
  response.end(data);
}

function put(response, body) {
  let told;
  try {
    told = JSON.parse(body);
  } catch {
    told = null;
  }
  const wanted = told?.counter ?? told?.count;
  if (!Number.isSafeInteger(wanted)) {
    reply(response, 400, { error: 'send {"count": NUMBER}' });
    return;
  }
  count = wanted;
  restored = true;
  reply(response, 200, state());
}

function hang() {
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
}

const routes = {
  "GET /state": (response) => reply(response, 200, state()),
  "GET /health": (response) => reply(response, 200, { status: "ok" }),
  "GET /restore": (response) => reply(response, 200, { restore: restored, counter: count }),
  "POST /state": put,
  "POST /restore": put,
  "POST /kill": (response) => {
    reply(response, 202, { status: "killed" });
    setTimeout(() => process.exit(137), 20);
  },
  "POST /hang": (response) => {
    reply(response, 202, { status: "hanging" });
    setTimeout(hang, 20);
  },
};

const server = createServer((request, response) => {
  const route = routes[`${request.method} ${request.url}`];
  if (!route) {
    reply(response, 404, { error: `use ${Object.keys(routes).join(", ")}` });
    return;
  }
  const parts = [];
  let size = 0;
  request.on("data", (part) => {
    size += part.length;
    if (size <= MOST_BYTES) parts.push(part);
  });
  request.on("end", () => {
    if (size > MOST_BYTES) reply(response, 413, { error: `at most ${MOST_BYTES} bytes` });
    else route(response, Buffer.concat(parts).toString());
  });
});

// Pid 1 has no default action for SIGTERM.
process.on("SIGTERM", () => process.exit(0));
setInterval(() => {
  count += 1;
  if (count % 10 === 0) console.log(`count=${count} run=${run}`);
}, TICK_MS);
server.listen(Number(process.env.PORT ?? 8080), () => console.log(`started run=${run} count=0`));
