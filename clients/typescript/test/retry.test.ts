import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { beginCheckout, createTillroll, Refused, type TillrollOptions } from "../src/index.js";

const ORDER = {
  id: "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f",
  userId: "anna",
  total: 129,
  date: "2026-03-14T09:26:53.000Z",
  status: "processing",
  items: [{ id: "1", quantity: 1 }],
};

type Answering = (request: IncomingMessage, answer: ServerResponse, count: number) => void;

async function aShop(context: TestContext, answering: Answering, options: Partial<TillrollOptions> = {}) {
  const keys: (string | undefined)[] = [];
  const bodies: string[] = [];
  const server = createServer(async (request, answer) => {
    let body = "";
    for await (const part of request) body += part;
    bodies.push(body);
    keys.push(request.headers["idempotency-key"] as string | undefined);
    answering(request, answer, keys.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { keys, bodies, shop: createTillroll({ baseUrl, token: () => "t", ...options }) };
}

function send(answer: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  answer.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
}

test("a request of unknown outcome is sent again with the same key and body", async (context) => {
  const { keys, bodies, shop } = await aShop(context, (request, answer, count) => {
    if (count === 1) send(answer, 503, { error: "away" }, { "Retry-After": "0" });
    else if (count === 2) send(answer, 429, { error: "too many" }, { "Retry-After": "0" });
    else if (count === 3) request.socket.destroy();
    else send(answer, 200, { data: ORDER }, { "Idempotent-Replayed": "true" });
  });
  const checkout = beginCheckout([{ id: "1", quantity: 1 }], 129);
  assert.deepEqual(await shop.placeOrder(checkout), { order: ORDER, isReplayed: true });
  assert.deepEqual(keys, Array(4).fill(checkout.key));
  assert.equal(new Set(bodies).size, 1);
});

test("Retry-After is respected", async (context) => {
  const { shop } = await aShop(context, (_request, answer, count) => {
    if (count === 1) send(answer, 503, { error: "away" }, { "Retry-After": "1" });
    else send(answer, 201, { data: ORDER });
  });
  const began = Date.now();
  await shop.placeOrder(beginCheckout([{ id: "1", quantity: 1 }], 129));
  assert.ok(Date.now() - began >= 990);
});

test("no answer within the time is an unknown outcome", async (context) => {
  const { keys, shop } = await aShop(context, (_request, answer, count) => {
    if (count > 1) send(answer, 201, { data: ORDER });
  }, { answerWithin: 150 });
  assert.equal((await shop.placeOrder(beginCheckout([{ id: "1", quantity: 1 }], 129))).isReplayed, false);
  assert.equal(new Set(keys).size, 1);
  assert.equal(keys.length, 2);
});

test("a refusal is not sent again and says what the API said", async (context) => {
  const { keys, shop } = await aShop(context, (_request, answer) => {
    send(answer, 409, { error: "Insufficient stock for Gaming Mouse Pad: requested 9, available 8" });
  });
  await assert.rejects(shop.placeOrder(beginCheckout([{ id: "3", quantity: 9 }], 351)), (fault) => {
    assert.ok(fault instanceof Refused);
    assert.deepEqual([fault.status, fault.message],
      [409, "Insufficient stock for Gaming Mouse Pad: requested 9, available 8"]);
    return true;
  });
  assert.equal(keys.length, 1);
});

test("a shop that stays away is told at last", async (context) => {
  const { keys, shop } = await aShop(context, (_request, answer) => {
    send(answer, 503, { error: "away" }, { "Retry-After": "0" });
  }, { attempts: 3 });
  await assert.rejects(shop.orders(), { name: "Refused", status: 503, message: "away" });
  assert.equal(keys.length, 3);
});

test("two checkouts have two keys", () => {
  assert.notEqual(beginCheckout([], 1).key, beginCheckout([], 1).key);
});
