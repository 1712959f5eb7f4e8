// An HTTP handler with an idempotency key, with "pg": a repeated request places no second order, and gets the first response.
//
//     node handler.mjs PORT
//
//     POST /orders
//     Authorization: CUSTOMER
//     Idempotency-Key: KEY
//
//     {"article": "lamp", "quantity": 2}

import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { isDeepStrictEqual } from 'node:util';
import pg from 'pg';

const pool = new pg.Pool();
// Without these two, a connection that is lost, idle or in use, would end the process.
pool.on('error', (error) => console.warn(error.message));
pool.on('connect', (client) => client.on('error', () => {}));

// Execute a function in a transaction.
async function transaction(action) {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await action(client);
    await client.query('COMMIT');
    client.release();
    return result;
  } catch (error) {
    client.release(true);       // closes the connection, which rolls back
    throw error;
  }
}

// Return the response, the same for each repeat.
async function placeOrder(client, customer, key, request) {
  const requestId = JSON.stringify([customer, key]);    // customers make keys: each has its own
  const { rows: [done] } = await client.query(`SELECT * FROM once.process('requests', $1)`, [requestId]);
  if (!done.first_time) {
    return isDeepStrictEqual(done.result.request, request)
      ? done.result.response
      : { status: 422, error: 'this key was used for another request' };
  }

  const { rows: [order] } = await client.query(
    'INSERT INTO orders (customer, article, quantity) VALUES ($1, $2, $3) RETURNING id',
    [customer, request.article, request.quantity]);
  const response = { status: 201, order: Number(order.id) };
  await client.query(`SELECT once.set_result('requests', $1, $2)`, [requestId, { request, response }]);
  return response;
}

async function answer(request) {
  const { authorization, 'idempotency-key': key } = request.headers;
  let order;
  try {
    order = JSON.parse(await text(request));
    if (!order.article || !key) throw new Error();
  } catch {
    return { status: 400, error: 'this is not an order' };
  }
  try {
    return await transaction((client) => placeOrder(client, authorization, key, order));
  } catch (error) {
    // Nothing was done, or the client was not told: it can repeat the request.
    console.warn(error.message);
    return { status: 503, error: 'try again' };
  }
}

createServer(async (request, response) => {
  const body = await answer(request);
  response.writeHead(body.status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
}).listen(Number(process.argv[2]), '127.0.0.1');
