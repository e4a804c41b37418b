// A member of a consumer group with kafkajs: node members.js BOOTSTRAP TOPIC GROUP
// Consumes until its standard input ends, then leaves; "partition offset" of every record on standard output, before it is committed.
const { writeSync } = require('fs');
const { Kafka, logLevel } = require('kafkajs');

const [bootstrap, topic, group] = process.argv.slice(2);
// The defaults are short for a machine that does much else.
const patience = { connectionTimeout: 60000, requestTimeout: 60000 };
const kafka = new Kafka({ clientId: 'node', brokers: [bootstrap], logLevel: logLevel.ERROR, ...patience });

async function main() {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 });
  const ended = new Promise((end) => process.stdin.resume().on('end', end));
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      writeSync(1, `${partition} ${message.offset}\n`);
    },
  });
  await ended;
  await consumer.disconnect();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
