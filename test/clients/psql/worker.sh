#!/usr/bin/env bash
# A worker with psql: takes orders from a queue and ships them.
#
#     worker.sh QUEUE
#
# PGHOST, PGDATABASE and the other variables of libpq say where the database is.  It handles one message at a time, with a new
# connection for each; start as many as you need.

queue=$1
name=worker-$HOSTNAME-$$	# the application_name, by which the call that waits is found
stopping=no
trap 'stopping=yes' TERM INT

# Cancel the call that waits.
end_wait() {
	psql -XAtq -v name="$name" <<-'END' >/dev/null
		SELECT pg_cancel_backend(pid) FROM pg_stat_activity
		 WHERE application_name = :'name' AND state = 'active' AND query LIKE '%once.receive%'
	END
}

while [ $stopping = no ]; do
	PGAPPNAME=$name psql -XAtq -v queue="$queue" -f "${0%.sh}.sql" >/dev/null &
	# A signal ends "wait", but not psql.
	until wait $!; status=$?; ! kill -0 $! 2>/dev/null; do
		end_wait
		sleep 0.1
	done
	# If psql has failed, what was received has been given back by the rollback.
	if [ $status -ne 0 ] && [ $stopping = no ]; then
		sleep 1
	fi
done
