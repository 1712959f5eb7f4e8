// A worker with "pg" (node-postgres): takes orders from a queue and ships them.
//
//     node worker.mjs QUEUE
//
// PGHOST, PGDATABASE and the other variables of libpq say where the database is.

import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const queue = process.argv[2];
const concurrency = 4;

const RECEIVE = `SELECT receipt, payload FROM once.receive($1, 10, wait => '30 s')`;

let stopping = false;
const waiting = new Set();      // the backends that wait for a message

// The work for one message.  What it writes commits together with the ack.
async function work(client, payload) {
  await client.query('INSERT INTO shipment (order_no) VALUES ($1)', [payload.order]);
}

async function worker() {
  while (!stopping) {
    const client = new pg.Client();
    client.on('error', () => {});       // the next query fails as well
    try {
      await client.connect();
      while (!stopping) await handleBatch(client);
    } catch (error) {
      // What was received has been given back by the rollback.
      if (!stopping) {
        console.warn(`connecting again: ${error.message}`);
        await sleep(1000);
      }
    } finally {
      await client.end().catch(() => {});
    }
  }
}

async function handleBatch(client) {
  const [, { rows: [{ pid }] }] = await client.query('BEGIN; SELECT pg_backend_pid() AS pid');
  for (const { receipt, payload } of await receive(client, pid)) {
    await client.query('SAVEPOINT message');
    try {
      await client.query('SELECT once.ack($1)', [receipt]);
      await work(client, payload);
    } catch (error) {
      await client.query('ROLLBACK TO SAVEPOINT message');
      await giveBack(client, receipt, error);
    }
    await client.query('RELEASE SAVEPOINT message');
  }
  await client.query('COMMIT');
}

async function receive(client, pid) {
  if (stopping) return [];
  waiting.add(pid);
  try {
    return (await client.query(RECEIVE, [queue])).rows;
  } finally {
    waiting.delete(pid);
  }
}

async function giveBack(client, receipt, error) {
  if (error.code === '40001' || error.code === '40P01') {
    // Not the message's fault: it is delivered again at once, and no attempt counts.
    await client.query('SELECT once.release($1)', [receipt]);
  } else if (error.code !== 'ON003') {
    // (ON003: the message went back with an earlier one of its group.)
    await client.query('SELECT once.nack($1, error => $2)', [receipt, error.message]);
  }
}

// Cancel the calls that wait.  Repeat it, since a cancel that arrives just before the call does nothing.
async function endWaits() {
  const client = new pg.Client();
  client.on('error', () => {});
  try {
    await client.connect();
    while (waiting.size > 0) {
      await client.query(
        `SELECT pg_cancel_backend(pid) FROM pg_stat_activity
          WHERE pid = ANY($1) AND state = 'active' AND query LIKE '%once.receive%'`, [[...waiting]]);
      await sleep(100);
    }
  } finally {
    await client.end();
  }
}

async function stop() {
  if (stopping) return;
  stopping = true;
  await endWaits().catch((error) => console.warn(error.message));
}

process.on('SIGTERM', stop).on('SIGINT', stop);
await Promise.all(Array.from({ length: concurrency }, worker));
