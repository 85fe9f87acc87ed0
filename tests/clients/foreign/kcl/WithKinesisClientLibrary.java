import com.amazonaws.auth.AWSCredentialsProvider;
import com.amazonaws.auth.AWSStaticCredentialsProvider;
import com.amazonaws.auth.BasicAWSCredentials;
import com.amazonaws.client.builder.AwsClientBuilder.EndpointConfiguration;
import com.amazonaws.services.cloudwatch.AmazonCloudWatchClientBuilder;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDB;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBClientBuilder;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBStreamsClientBuilder;
import com.amazonaws.services.dynamodbv2.model.*;
import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsWorkerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.RecordAdapter;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IRecordProcessor;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.InitialPositionInStream;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.KinesisClientLibConfiguration;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.ShutdownReason;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.Worker;
import com.amazonaws.services.kinesis.clientlibrary.types.InitializationInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ProcessRecordsInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ShutdownInput;
import com.amazonaws.services.kinesis.metrics.interfaces.MetricsLevel;
import java.util.*;
import java.util.concurrent.ConcurrentHashMap;

/** The Kinesis Client Library with the DynamoDB Streams adapter: every change in order, every shard to its end. */
public class WithKinesisClientLibrary {
  private static final String TABLE = "library";
  private static final int WRITES = 120;
  private static final Map<String, List<Integer>> seen = new ConcurrentHashMap<>();
  private static final Set<String> begun = ConcurrentHashMap.newKeySet();
  private static final Set<String> ended = ConcurrentHashMap.newKeySet();

  public static void main(String[] none) throws Exception {
    AWSCredentialsProvider credentials = new AWSStaticCredentialsProvider(new BasicAWSCredentials("any", "any"));
    EndpointConfiguration endpoint = new EndpointConfiguration(System.getenv("DYNAMODB_ENDPOINT"), "us-east-1");
    AmazonDynamoDB tables = AmazonDynamoDBClientBuilder.standard()
        .withEndpointConfiguration(endpoint).withCredentials(credentials).build();
    AmazonDynamoDBStreamsAdapterClient streams = new AmazonDynamoDBStreamsAdapterClient(
        AmazonDynamoDBStreamsClientBuilder.standard()
            .withEndpointConfiguration(endpoint).withCredentials(credentials).build());
    String arn = create(tables);
    KinesisClientLibConfiguration settings =
        new KinesisClientLibConfiguration("library-leases", arn, credentials, "worker")
            .withInitialPositionInStream(InitialPositionInStream.TRIM_HORIZON)
            .withIdleTimeBetweenReadsInMillis(100)
            .withMetricsLevel(MetricsLevel.NONE)
            .withShardSyncIntervalMillis(1000);
    Worker worker = StreamsWorkerFactory.createDynamoDbStreamsWorker(
        Processor::new, settings, streams, tables,
        AmazonCloudWatchClientBuilder.standard()
            .withEndpointConfiguration(endpoint).withCredentials(credentials).build());
    Thread thread = new Thread(worker);
    thread.start();
    Map<String, List<Integer>> written = new HashMap<>();
    for (int n = 0; n < WRITES; n++) {
      String key = "k" + n % 7;
      tables.putItem(TABLE, Map.of("pk", new AttributeValue(key), "n", new AttributeValue().withN("" + n)));
      written.computeIfAbsent(key, any -> new ArrayList<>()).add(n);
    }
    waitUntil(() -> seen.values().stream().mapToInt(List::size).sum() >= WRITES);
    tables.updateTable(new UpdateTableRequest().withTableName(TABLE)
        .withStreamSpecification(new StreamSpecification().withStreamEnabled(false)));
    waitUntil(() -> !begun.isEmpty() && ended.equals(begun));
    worker.startGracefulShutdown().get();
    if (!seen.equals(written)) throw new AssertionError("written " + written + ", seen " + seen);
    System.out.println("ok");
    System.exit(0);
  }

  private static String create(AmazonDynamoDB tables) {
    return tables.createTable(new CreateTableRequest().withTableName(TABLE)
        .withKeySchema(new KeySchemaElement("pk", KeyType.HASH))
        .withAttributeDefinitions(new AttributeDefinition("pk", ScalarAttributeType.S))
        .withBillingMode(BillingMode.PAY_PER_REQUEST)
        .withStreamSpecification(new StreamSpecification().withStreamEnabled(true)
            .withStreamViewType(StreamViewType.NEW_AND_OLD_IMAGES)))
        .getTableDescription().getLatestStreamArn();
  }

  private static void waitUntil(java.util.function.BooleanSupplier condition) throws InterruptedException {
    long limit = System.nanoTime() + 90_000_000_000L;
    while (!condition.getAsBoolean()) {
      if (System.nanoTime() > limit) throw new AssertionError("begun " + begun + ", ended " + ended + ", seen " + seen);
      Thread.sleep(50);
    }
  }

  private static class Processor implements IRecordProcessor {
    private String shard;

    public void initialize(InitializationInput input) {
      shard = input.getShardId();
      begun.add(shard);
    }

    public void processRecords(ProcessRecordsInput input) {
      for (var record : input.getRecords()) {
        StreamRecord change = ((RecordAdapter) record).getInternalObject().getDynamodb();
        seen.computeIfAbsent(change.getKeys().get("pk").getS(), any -> new ArrayList<>())
            .add(Integer.valueOf(change.getNewImage().get("n").getN()));
      }
      checkpoint(input.getCheckpointer());
    }

    public void shutdown(ShutdownInput input) {
      if (input.getShutdownReason() != ShutdownReason.TERMINATE) return;
      checkpoint(input.getCheckpointer());
      ended.add(shard);
    }

    private static void checkpoint(
        com.amazonaws.services.kinesis.clientlibrary.interfaces.IRecordProcessorCheckpointer at) {
      try {
        at.checkpoint();
      } catch (Exception error) {
        throw new RuntimeException(error);
      }
    }
  }
}
