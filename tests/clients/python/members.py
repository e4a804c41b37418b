"""A member of a consumer group with aiokafka: members.py BOOTSTRAP TOPIC GROUP

Consumes until nothing has come for five seconds, then leaves; "partition offset" of every record on standard output.
"""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer


async def main(bootstrap, topic, group):
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=10000,
        heartbeat_interval_ms=500,
        auto_commit_interval_ms=200,
    )
    await consumer.start()
    try:
        limit = 30
        while True:
            try:
                record = await asyncio.wait_for(consumer.getone(), limit)
            except asyncio.TimeoutError:
                return
            limit = 5
            print(record.partition, record.offset)
    finally:
        await consumer.stop()


asyncio.run(main(*sys.argv[1:]))
