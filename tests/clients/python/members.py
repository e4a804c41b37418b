"""A member of a consumer group with aiokafka: members.py BOOTSTRAP TOPIC GROUP

Consumes until its standard input ends, then leaves; "partition offset" of every record on standard output, before it is committed.
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
        session_timeout_ms=6000,
        heartbeat_interval_ms=500,
        auto_commit_interval_ms=200,
    )
    await consumer.start()
    try:
        ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        while not ended.done():
            batches = await consumer.getmany(timeout_ms=200)
            for records in batches.values():
                for record in records:
                    print(record.partition, record.offset)
            sys.stdout.flush()
    finally:
        await consumer.stop()


asyncio.run(main(*sys.argv[1:]))
