"""The feature store: a real PostgreSQL with what is known of each card, and past payments with their outcome."""

from __future__ import annotations

from ringfence.broker.demo.workloads.features import Content, serve

CARDS = 500  # as below

# Fraud is what the model has to find out: rare, likelier far from a card's habits, at night, abroad and in haste.
FILL = """
create table cards as
  select i as id, 20 + 180 * random() as average, floor(4 * random() * random())::int as velocity,
         floor(3 * power(random(), 4))::int as chargebacks, floor(3000 * random())::int as age
  from (select setseed(0.7)) as seed, generate_series(1, 500) as i;
alter table cards add primary key (id);
create table history as
  select ratio, abroad, night, velocity, chargebacks, age,
         (random() < 1 / (1 + exp(6.5 - 0.9 * ratio - 1.8 * abroad * night - 1.1 * velocity - 1.2 * chargebacks
                                    + 0.0006 * age)))::int as fraud
  from (select 8 * power(random(), 3) as ratio, (random() < 0.2)::int as abroad, (random() < 0.3)::int as night,
               floor(4 * random() * random())::int as velocity, floor(3 * power(random(), 4))::int as chargebacks,
               floor(3000 * random())::int as age
        from (select setseed(0.3)) as seed, generate_series(1, 6000)) as drawn;
grant select on cards, history to scorer;
"""

if __name__ == "__main__":
    serve(Content("cards", "scorer", FILL))
