#!/usr/bin/env php
<?php
// What values become with PDO, and what does not work

declare(strict_types=1);

$db = new PDO('pgsql:', options: [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_EMULATE_PREPARES => true]);

function rows(string $sql, mixed ...$parameters): array
{
    global $db;

    $statement = $db->prepare($sql);
    $statement->execute($parameters);
    return $statement->fetchAll(PDO::FETCH_NUM);
}

function check(bool $condition): void
{
    if (!$condition) {
        throw new Exception('this is not so');
    }
}

function fails(string $sqlstate, string $sql, mixed ...$parameters): void
{
    try {
        rows($sql, ...$parameters);
    } catch (PDOException $error) {
        check($error->getCode() === $sqlstate);
        return;
    }
    throw new Exception('no error');
}

// What arrives: integers, and strings for all else
foreach (['{"order": 1}', 'null', null] as $payload) {
    rows("SELECT once.send('values', ?)", $payload);
}
$messages = rows("SELECT id, receipt, enqueued_at, leased_until, headers, payload FROM once.lease('values', '1 min', 10)");
check(array_column($messages, 5) === ['{"order": 1}', 'null', null]);
[$id, $receipt, $enqueuedAt, $leasedUntil, $headers] = $messages[0];
check(is_int($id) && is_string($receipt) && is_string($enqueuedAt) && is_string($leasedUntil) && $headers === null);
check(new DateTime($leasedUntil) > new DateTime($enqueuedAt));

// What is sent.  An array of PHP goes in as JSON, and PostgreSQL makes an array of it.
check(rows('SELECT once.ack_all(ARRAY(SELECT jsonb_array_elements_text(?))::uuid[])', json_encode(array_column($messages, 1))) === [[3]]);
rows("SELECT once.send('values', ?, delay => ?)", json_encode(['order' => 1]), '10 s');
rows("SELECT once.send('values', ?, deliver_at => ?)", '1', date(DATE_ATOM));
rows("SELECT once.send_batch('values', ARRAY(SELECT jsonb_array_elements(?)))", json_encode([['order' => 1], 'text']));
check(rows("SELECT once.redrive_ids('values', ARRAY(SELECT jsonb_array_elements_text(?))::bigint[])", json_encode([1, 2])) === [[0]]);
check(rows("SELECT count(*) FROM once.check('values', ?)", 'true') === [[0]]);

// What fails: false, which becomes an empty string (true becomes '1')
fails('22P02', "SELECT once.check('values', ?)", false);
// An array becomes the word Array, with a warning only.
check(@rows('SELECT ?', [1, 2]) === [['Array']]);
