// A worker with JDBC: takes orders from a queue and ships them.
//
//     java -cp postgresql.jar Worker.java QUEUE
//
// JDBC_URL says where the database is: jdbc:postgresql://HOST:PORT/DATABASE?user=USER

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

public class Worker extends Thread {
    static final int CONCURRENCY = 4;

    static final String RECEIVE = "SELECT receipt, payload FROM once.receive(?, 10, wait => '30 s')";

    static volatile boolean stopping = false;

    record Message(UUID receipt, String payload) {}

    final String queue;
    volatile PreparedStatement waiting;     // the call that waits for a message

    Worker(String queue) {
        this.queue = queue;
    }

    /** The work for one message.  What it writes commits together with the ack. */
    void work(Connection connection, String payload) throws SQLException {
        // Let PostgreSQL take the JSON apart, or add a library that does.
        try (var insert = connection.prepareStatement(
                "INSERT INTO shipment (order_no) VALUES ((?::jsonb->>'order')::int)")) {
            insert.setString(1, payload);
            insert.executeUpdate();
        }
    }

    @Override
    public void run() {
        while (!stopping) {
            try (var connection = DriverManager.getConnection(System.getenv("JDBC_URL"))) {
                connection.setAutoCommit(false);
                while (!stopping) {
                    handleBatch(connection);
                }
            } catch (SQLException error) {
                // What was received has been given back by the rollback.
                if (!stopping) {
                    System.err.println("connecting again: " + error.getMessage());
                    pause(1000);
                }
            }
        }
    }

    void handleBatch(Connection connection) throws SQLException {
        for (var message : receive(connection)) {
            Savepoint savepoint = connection.setSavepoint();
            try {
                call(connection, "SELECT once.ack(?)", message.receipt);
                work(connection, message.payload);
            } catch (SQLException | RuntimeException error) {
                connection.rollback(savepoint);
                giveBack(connection, message.receipt, error);
            }
            connection.releaseSavepoint(savepoint);
        }
        connection.commit();
    }

    List<Message> receive(Connection connection) throws SQLException {
        var messages = new ArrayList<Message>();
        try (var statement = connection.prepareStatement(RECEIVE)) {
            statement.setString(1, queue);
            waiting = statement;
            try (ResultSet rows = statement.executeQuery()) {
                while (rows.next()) {
                    messages.add(new Message(rows.getObject("receipt", UUID.class), rows.getString("payload")));
                }
            } finally {
                waiting = null;
            }
        }
        return messages;
    }

    void giveBack(Connection connection, UUID receipt, Exception error) throws SQLException {
        String sqlstate = error instanceof SQLException e ? e.getSQLState() : "";
        if ("40001".equals(sqlstate) || "40P01".equals(sqlstate)) {
            // Not the message's fault: it is delivered again at once, and no attempt counts.
            call(connection, "SELECT once.release(?)", receipt);
        } else if (!"ON003".equals(sqlstate)) {
            // (ON003: the message went back with an earlier one of its group.)
            call(connection, "SELECT once.nack(?, error => ?)", receipt, error.getMessage());
        }
    }

    static void call(Connection connection, String sql, Object... arguments) throws SQLException {
        try (var statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < arguments.length; i++) {
                statement.setObject(i + 1, arguments[i]);
            }
            statement.execute();
        }
    }

    void endWait() {
        try {
            var statement = waiting;
            if (statement != null) {
                statement.cancel();
            }
        } catch (SQLException error) {
            // The connection is gone, and the wait with it.
        }
    }

    static void pause(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] arguments) {
        var workers = new ArrayList<Worker>();
        for (int i = 0; i < CONCURRENCY; i++) {
            workers.add(new Worker(arguments[0]));
        }

        // SIGTERM runs this, and ends the process with status 143 when it returns.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            // Repeat it, since a cancel that arrives just before the call does nothing.
            while (workers.stream().anyMatch(Thread::isAlive)) {
                workers.forEach(Worker::endWait);
                pause(100);
            }
        }));
        workers.forEach(Thread::start);
    }
}
