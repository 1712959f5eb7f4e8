#!/usr/bin/env python3
"""An HTTP handler with an idempotency key, with psycopg 3: a repeated request places no second order, and gets the first response.

    handler.py PORT

    POST /orders
    Authorization: CUSTOMER
    Idempotency-Key: KEY

    {"article": "lamp", "quantity": 2}
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from psycopg.types.json import Jsonb


def place_order(customer, key, request):
    """Return the response, the same for each repeat."""
    request_id = json.dumps([customer, key])    # customers make keys: each has its own
    # One transaction, which the end of the block commits, and an exception rolls back.  (Use a pool of connections.)
    with psycopg.connect(prepare_threshold=None) as connection:
        first_time, stored = connection.execute(
            "SELECT * FROM once.process('requests', %s)", [request_id]).fetchone()
        if not first_time:
            if stored["request"] != request:
                return {"status": 422, "error": "this key was used for another request"}
            return stored["response"]

        [number] = connection.execute(
            "INSERT INTO orders (customer, article, quantity) VALUES (%s, %s, %s) RETURNING id",
            [customer, request["article"], request["quantity"]]).fetchone()
        response = {"status": 201, "order": number}
        connection.execute(
            "SELECT once.set_result('requests', %s, %s)",
            [request_id, Jsonb({"request": request, "response": response})])
    return response


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        try:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            response = place_order(self.headers["Authorization"], self.headers["Idempotency-Key"], request)
        except psycopg.Error as error:
            # Nothing was done, or the client was not told: it can repeat the request.
            self.log_error("%s", error)
            response = {"status": 503, "error": "try again"}
        except (KeyError, TypeError, ValueError):
            response = {"status": 400, "error": "this is not an order"}
        body = json.dumps(response).encode()
        self.send_response(response["status"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
