// What an administrator does, with kafkajs: node admin.js BOOTSTRAP TOPIC
// A line for each step on standard output, the same for all clients.
const { Kafka, logLevel, ConfigResourceTypes } = require('kafkajs');

const [bootstrap, topic] = process.argv.slice(2);
// The defaults are short for a machine that does much else.
const patience = { connectionTimeout: 60000, requestTimeout: 60000 };
const timeout = 60000;
const kafka = new Kafka({ clientId: 'node', brokers: [bootstrap], logLevel: logLevel.NOTHING, ...patience });
const setting = 'max.message.bytes';
const resource = { type: ConfigResourceTypes.TOPIC, name: topic };

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  const partitions = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length;
  const value = async () => {
    const resources = [{ ...resource, configNames: [setting] }];
    const answer = await admin.describeConfigs({ includeSynonyms: false, resources });
    return answer.resources[0].configEntries[0].configValue;
  };
  const wanted = { topic, numPartitions: 2, replicationFactor: 1 };
  await admin.createTopics({ timeout, topics: [{ ...wanted, configEntries: [{ name: setting, value: '2000' }] }] });
  console.log('created', await partitions());
  console.log('again refused', !(await admin.createTopics({ timeout, topics: [wanted] })));
  console.log('config', await value());
  await admin.alterConfigs({ resources: [{ ...resource, configEntries: [{ name: setting, value: '3000' }] }] });
  console.log('altered', await value());
  await admin.createPartitions({ timeout, topicPartitions: [{ topic, count: 4 }] });
  console.log('grown', await partitions());
  console.log('brokers', (await admin.describeCluster()).brokers.length);
  const end = (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === 3);
  console.log('end', Number(end.high));
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] });
  const begin = (await admin.fetchTopicOffsets(topic)).find(({ partition }) => partition === 0);
  console.log('begin', Number(begin.low));
  await admin.deleteTopics({ timeout, topics: [topic] });
  console.log('listed', (await admin.listTopics()).includes(topic));
  await admin.disconnect();
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
