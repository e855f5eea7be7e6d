"""A matching engine as one would write it on paper: a list of orders, sorted for every trade."""

from dataclasses import dataclass, field

from lab.exchange.book import BUY, CANCEL, ENTER, LIMIT, MARKET, REMAINDER, REPLACE, TRADE

Line = tuple[int, int, int, int, int]  # what, order, other, price, quantity


@dataclass
class Order:
    number: int
    instrument: int
    side: int
    price: int
    quantity: int
    since: int


@dataclass
class NaiveBook:
    levels: int
    resting: dict[int, Order] = field(default_factory=dict)
    tape: list[Line] = field(default_factory=list)
    entered: int = 0
    arrivals: int = 0

    def enter(self, instrument: int, side: int, price: int, quantity: int, terms: int) -> int:
        if terms == MARKET:
            price = self.levels - 1 if side == BUY else 0
        order = Order(self.entered, instrument, side, price, quantity, 0)
        self.entered += 1
        place = len(self.tape)
        trades = self._match(order)
        rests = terms == LIMIT and order.quantity > 0
        self.tape[place:] = [(ENTER, order.number, int(rests), price, quantity), *trades]
        if rests:
            self._rest(order)
        elif order.quantity > 0:
            self.tape.append((REMAINDER, order.number, 0, price, order.quantity))
        return order.number

    def cancel(self, number: int) -> bool:
        order = self.resting.pop(number, None)
        if order is not None:
            self.tape.append((CANCEL, number, 0, order.price, order.quantity))
        return order is not None

    def replace(self, number: int, price: int, quantity: int) -> bool:
        order = self.resting.get(number)
        if order is None:
            return False
        if price == order.price and quantity <= order.quantity:
            order.quantity = quantity
            self.tape.append((REPLACE, number, 1, price, quantity))
            return True
        del self.resting[number]
        order.price, order.quantity = price, quantity
        trades = self._match(order)
        self.tape += [(REPLACE, number, int(order.quantity > 0), price, quantity), *trades]
        if order.quantity > 0:
            self._rest(order)
        return True

    def _rest(self, order: Order) -> None:
        order.since = self.arrivals = self.arrivals + 1
        self.resting[order.number] = order

    def _match(self, order: Order) -> list[Line]:
        sign = 1 if order.side == BUY else -1
        others = [
            one
            for one in self.resting.values()
            if (one.instrument, one.side) == (order.instrument, 1 - order.side)
            and sign * one.price <= sign * order.price
        ]
        trades = []
        for one in sorted(others, key=lambda one: (sign * one.price, one.since)):
            traded = min(order.quantity, one.quantity)
            if traded == 0:
                break
            order.quantity -= traded
            one.quantity -= traded
            trades.append((TRADE, order.number, one.number, one.price, traded))
            if one.quantity == 0:
                del self.resting[one.number]
        return trades
