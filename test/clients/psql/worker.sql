-- One message of a queue, for worker.sh
\set ON_ERROR_STOP on
BEGIN;
SELECT count(*) = 1 AS found, min(receipt::text) AS receipt, coalesce(min(payload::text), 'null') AS payload
  FROM once.receive(:'queue', wait => '30 s') \gset
\if :found
	SAVEPOINT message;
	\set ON_ERROR_STOP off
	-- The ack and the work, which commit together
	SELECT once.ack(:'receipt') \;
	INSERT INTO shipment (order_no) VALUES ((:'payload'::jsonb->>'order')::int);
	\set failed :ERROR
	\set ON_ERROR_STOP on
	\if :failed
		ROLLBACK TO SAVEPOINT message;
		SELECT :'LAST_ERROR_SQLSTATE' IN ('40001', '40P01') AS again \gset
		\if :again
			-- Not the message's fault: it is delivered again at once, and no attempt counts.
			SELECT once.release(:'receipt');
		\else
			SELECT once.nack(:'receipt', error => :'LAST_ERROR_MESSAGE');
		\endif
	\endif
\endif
COMMIT;
