/** Fills a cart, places an order, finds it in the list, and places it again with the same key: still one order.
 *
 * TILLROLL_URL=http://localhost:8000 TILLROLL_TOKEN=$(tillroll token anna) npm run example */
import { beginCheckout, createTillroll } from "../src/index.js";

const { TILLROLL_URL: baseUrl = "http://localhost:8000", TILLROLL_TOKEN: token = "" } = process.env;
const shop = createTillroll({ baseUrl, token: () => token });

const [product] = await shop.products("Peripherals");
if (product === undefined) throw new Error("the shop sells nothing");
const session = crypto.randomUUID();
const items = await shop.fillCart(session, [{ id: product.id, quantity: 2 }]);

const checkout = beginCheckout(items, product.price * 2);
const first = await shop.placeOrder(checkout);
const again = await shop.placeOrder(checkout);
const listed = (await shop.orders()).filter((order) => order.id === first.order.id);

console.log(JSON.stringify({
  order: first.order,
  replayed: [first.isReplayed, again.isReplayed],
  sameOrder: again.order.id === first.order.id,
  listed: listed.length,
}));
