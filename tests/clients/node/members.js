// A member of a consumer group with kafkajs: node members.js BOOTSTRAP TOPIC GROUP
// Consumes until nothing has come for five seconds, then leaves; "partition offset" of every record on standard output.
const { Kafka, logLevel } = require('kafkajs');

const [bootstrap, topic, group] = process.argv.slice(2);
const kafka = new Kafka({ clientId: 'node', brokers: [bootstrap], logLevel: logLevel.ERROR });

async function main() {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 500 });
  let last = Date.now();
  const seen = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      last = Date.now();
      seen.push(`${partition} ${message.offset}`);
    },
  });
  while (seen.length === 0 ? Date.now() - last < 30000 : Date.now() - last < 5000) {
    await new Promise((wake) => setTimeout(wake, 50));
  }
  await consumer.disconnect();
  console.log(seen.join('\n'));
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
