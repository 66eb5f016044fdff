import createClient, { type Client } from "openapi-fetch";
import { type RetryOptions, retryingFetch } from "./retry.js";
import type { components, paths } from "./schema.js";

export type { components, paths } from "./schema.js";
export type Order = components["schemas"]["Order"];
export type CartItem = components["schemas"]["CartItem"];
export type Product = components["schemas"]["Product"];

export interface TillrollOptions extends RetryOptions {
  baseUrl: string;
  /** The user's token; asked for with every request, because tokens are short-lived. */
  token?: () => string | Promise<string>;
}

/** What the API said no to. `status` and `message` are the contract's. */
export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
    this.name = "Refused";
  }
}

/** One checkout. Keep it, or its key, until the answer is there: the same key is the same order, for ever. */
export interface Checkout {
  items: CartItem[];
  total: number;
  key: string;
}

export interface Placed {
  order: Order;
  /** Whether the order was known: an earlier try had reached the shop. */
  isReplayed: boolean;
}

export interface Tillroll {
  /** Every route, typed by the document. */
  api: Client<paths>;
  products(category?: string): Promise<Product[]>;
  cart(session: string): Promise<CartItem[]>;
  fillCart(session: string, items: CartItem[]): Promise<CartItem[]>;
  placeOrder(checkout: Checkout): Promise<Placed>;
  orders(): Promise<Order[]>;
  cancelOrder(id: string): Promise<Order>;
}

/** Mints the key of a checkout: call it once for each, not once for each try. */
export function beginCheckout(items: CartItem[], total: number): Checkout {
  return { items, total, key: crypto.randomUUID() };
}

export function createTillroll({ baseUrl, token, ...retry }: TillrollOptions): Tillroll {
  const api = createClient<paths>({ baseUrl, fetch: retryingFetch(retry) });
  if (token) {
    api.use({
      async onRequest({ request }) {
        request.headers.set("Authorization", `Bearer ${await token()}`);
        return request;
      },
    });
  }
  return {
    api,
    async products(category) {
      return dataOf(await api.GET("/api/products", { params: { query: category ? { category } : {} } }));
    },
    async cart(session) {
      return dataOf(await api.GET("/api/cart/{session_id}", { params: { path: { session_id: session } } }));
    },
    async fillCart(session, items) {
      const path = { session_id: session };
      return dataOf(await api.PUT("/api/cart/{session_id}", { params: { path }, body: { items } }));
    },
    async placeOrder({ items, total, key }) {
      const header = { "Idempotency-Key": key };
      const answer = await api.POST("/api/orders", { params: { header }, body: { items, total } });
      return { order: dataOf(answer), isReplayed: answer.response.headers.get("Idempotent-Replayed") === "true" };
    },
    async orders() {
      const data = dataOf(await api.GET("/api/orders"));
      return Array.isArray(data) ? data : [data];
    },
    async cancelOrder(id) {
      return dataOf(await api.POST("/api/orders/{order_id}/cancel", { params: { path: { order_id: id } } }));
    },
  };
}

function dataOf<T>(answer: { data?: { data: T }; error?: { error: string }; response: Response }): T {
  if (answer.data === undefined) {
    throw new Refused(answer.response.status, answer.error?.error ?? answer.response.statusText);
  }
  return answer.data.data;
}
