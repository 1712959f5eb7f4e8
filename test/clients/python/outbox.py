#!/usr/bin/env python3
"""An outbox with SQLAlchemy: an order and its message commit together.

    outbox.py CUSTOMER ARTICLE QUANTITY
"""

import sys

from sqlalchemy import BigInteger, Column, Integer, Text, cast, create_engine, event, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()


class Order(Base):
    __tablename__ = "orders"

    id = Column(BigInteger, primary_key=True)
    customer = Column(Text)
    article = Column(Text)
    quantity = Column(Integer)


@event.listens_for(Order, "after_insert")
def send(mapper, connection, order):
    """Send a message for each new order, in the transaction of its INSERT."""
    message = {"order": order.id, "article": order.article, "quantity": order.quantity}
    connection.execute(select(func.once.send("outbox", cast(message, JSONB))))


engine = create_engine("postgresql+psycopg2://")

with Session(engine) as session, session.begin():
    customer, article, quantity = sys.argv[1:]
    session.add(Order(customer=customer, article=article, quantity=int(quantity)))
