// A worker with "postgres" (Postgres.js): takes orders from a queue and ships them.
//
//     node worker.mjs QUEUE
//
// PGHOST, PGDATABASE and the other variables of libpq say where the database is.

import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';

const queue = process.argv[2];
const concurrency = 4;

// A lost connection ends the process, and a supervisor must start it again.  The driver, version 3.4.9, could run the rest of a broken
// transaction in another one: see the page, which also says something about "prepare".
const sql = postgres({ max: concurrency, prepare: false, max_lifetime: null, onclose: () => stopping || process.exit(1) });
const receive = (tx) => tx`SELECT receipt, payload FROM once.receive(${queue}, 10, wait => '30 s')`;

let stopping = false;
const waiting = new Set();      // the queries that wait for a message

// The work for one message.  What it writes commits together with the ack.
async function work(tx, payload) {
  await tx`INSERT INTO shipment (order_no) VALUES (${payload.order})`;
}

async function worker() {
  while (!stopping) {
    try {
      await sql.begin(handleBatch);
    } catch (error) {
      // What was received has been given back by the rollback.
      if (!stopping) {
        console.warn(`trying again: ${error.message}`);
        await sleep(1000);
      }
    }
  }
}

async function handleBatch(tx) {
  if (stopping) return;
  for (const { receipt, payload } of await wait(receive(tx))) {
    try {
      await tx.savepoint(async (tx) => {
        await tx`SELECT once.ack(${receipt})`;
        await work(tx, payload);
      });
    } catch (error) {
      await giveBack(tx, receipt, error);
    }
  }
}

async function wait(query) {
  waiting.add(query);
  try {
    return await query;
  } finally {
    waiting.delete(query);
  }
}

async function giveBack(tx, receipt, error) {
  if (error.code === '40001' || error.code === '40P01') {
    // Not the message's fault: it is delivered again at once, and no attempt counts.
    await tx`SELECT once.release(${receipt})`;
  } else if (error.code !== 'ON003') {
    // (ON003: the message went back with an earlier one of its group.)
    await tx`SELECT once.nack(${receipt}, error => ${error.message})`;
  }
}

async function stop() {
  stopping = true;
  // Repeat it, since a cancel that arrives just before the call does nothing.
  while (waiting.size > 0) {
    for (const query of waiting) query.cancel();
    await sleep(100);
  }
}

process.on('SIGTERM', stop).on('SIGINT', stop);
await Promise.all(Array.from({ length: concurrency }, worker));
await sql.end();
