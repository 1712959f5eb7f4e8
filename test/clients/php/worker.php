#!/usr/bin/env php
<?php
// A worker with PDO: takes orders from a queue and ships them.
//
//     worker.php QUEUE
//
// PGHOST, PGDATABASE and the other variables of libpq say where the database is.
//
// PDO cannot cancel a statement, and while it waits for the server, PHP handles no signals.  So the workers are child processes, and
// their parent cancels their calls with a connection of its own.

declare(strict_types=1);

const CONCURRENCY = 4;

const RECEIVE = "SELECT receipt, payload FROM once.receive(?, 10, wait => '30 s')";

$stopping = false;

/** The work for one message.  What it writes commits together with the ack. */
function work(PDO $db, ?string $payload): void
{
    $order = json_decode($payload, true, flags: JSON_THROW_ON_ERROR);
    query($db, 'INSERT INTO shipment (order_no) VALUES (?)', [$order['order'] ?? null]);
}

function query(PDO $db, string $sql, array $parameters): array
{
    $statement = $db->prepare($sql);
    $statement->execute($parameters);
    return $statement->fetchAll(PDO::FETCH_ASSOC);
}

function connect(string $name): PDO
{
    // Emulated: see what the page says about PgBouncer.
    return new PDO("pgsql:application_name=$name", options: [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => true,
    ]);
}

function worker(string $queue, string $name): void
{
    global $stopping;

    while (!$stopping) {
        try {
            $db = connect($name);
            while (!$stopping) {
                handleBatch($db, $queue);
            }
        } catch (PDOException $error) {
            // What was received has been given back by the rollback.
            $db = null;
            pcntl_signal_dispatch();
            if (!$stopping) {
                error_log('connecting again: ' . $error->getMessage());
                sleep(1);
            }
        }
    }
}

function handleBatch(PDO $db, string $queue): void
{
    $db->beginTransaction();
    foreach (query($db, RECEIVE, [$queue]) as ['receipt' => $receipt, 'payload' => $payload]) {
        $db->exec('SAVEPOINT message');
        try {
            query($db, 'SELECT once.ack(?)', [$receipt]);
            work($db, $payload);
        } catch (Throwable $error) {
            $db->exec('ROLLBACK TO SAVEPOINT message');
            giveBack($db, $receipt, $error);
        }
        $db->exec('RELEASE SAVEPOINT message');
    }
    $db->commit();
}

function giveBack(PDO $db, string $receipt, Throwable $error): void
{
    $sqlstate = $error instanceof PDOException ? $error->getCode() : '';
    if ($sqlstate === '40001' || $sqlstate === '40P01') {
        // Not the message's fault: it is delivered again at once, and no attempt counts.
        query($db, 'SELECT once.release(?)', [$receipt]);
    } elseif ($sqlstate !== 'ON003') {
        // (ON003: the message went back with an earlier one of its group.)
        query($db, 'SELECT once.nack(?, error => ?)', [$receipt, $error->getMessage()]);
    }
}

/** Cancel the calls that wait. */
function endWaits(string $name): void
{
    try {
        query(connect('stop'), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
            WHERE application_name = ? AND state = 'active' AND query LIKE '%once.receive%'", [$name]);
    } catch (PDOException $error) {
        error_log($error->getMessage());
    }
}

$name = 'worker-' . bin2hex(random_bytes(8));     // its application_name, to be found by
$stop = function () use (&$stopping): void {
    $stopping = true;
};
pcntl_async_signals(true);
pcntl_signal(SIGTERM, $stop);
pcntl_signal(SIGINT, $stop);

$children = [];
while ($children || !$stopping) {
    // Replace children that have died.
    while (!$stopping && count($children) < CONCURRENCY) {
        $pid = pcntl_fork();
        if ($pid === 0) {
            worker($argv[1], $name);
            exit(0);
        }
        $children[$pid] = $pid;
    }
    // Repeat it, since a cancel that arrives just before the call does nothing.
    if ($stopping) {
        array_map(fn($pid) => posix_kill($pid, SIGTERM), $children);
        endWaits($name);
    }
    usleep(100_000);
    while (($pid = pcntl_waitpid(-1, $status, WNOHANG)) > 0) {
        unset($children[$pid]);
    }
}
