// Kafka's admin client behind a pipe: one command per line on stdin, one line of JSON as the answer.
//
//   move COUNT SEED    gives COUNT random partitions (offsets and transaction logs among them) another leader:
//                      the order of their replicas changes, then the preferred leader is elected
//   transactions       transactional ids by state
//   producers PREFIX   open transactions on the partitions of the topics whose names begin so
//   allow PRINCIPAL OPERATION RESOURCE PATTERN NAME    gives a right: "allow User:ann READ TOPIC PREFIXED a-"
//   forbid PRINCIPAL OPERATION RESOURCE PATTERN NAME   takes it back
//
//   --bootstrap HOST:PORT,..
//
// {"error": ".."} says that the command did not work out; it may be given again.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

public class AdminPipe {
  static final ObjectMapper JSON = new ObjectMapper();
  static final long LIMIT_SECONDS = 30;

  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", args[1]);
    properties.put("request.timeout.ms", "10000");
    properties.put("default.api.timeout.ms", "25000");
    properties.put("reconnect.backoff.max.ms", "300");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    try (Admin admin = Admin.create(properties)) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        ObjectNode answer = JSON.createObjectNode();
        try {
          String[] words = line.trim().split(" ");
          switch (words[0]) {
            case "move" -> answer.put("moved", move(admin, Integer.parseInt(words[1]), Long.parseLong(words[2])));
            case "transactions" -> transactions(admin, answer);
            case "producers" -> producers(admin, words[1], answer);
            case "allow" -> admin.createAcls(List.of(acl(words))).all().get(LIMIT_SECONDS, TimeUnit.SECONDS);
            case "forbid" -> answer.put("taken",
                admin.deleteAcls(List.of(acl(words).toFilter())).all().get(LIMIT_SECONDS, TimeUnit.SECONDS).size());
            default -> throw new IllegalArgumentException("unknown command " + words[0]);
          }
        } catch (Exception e) {
          answer.put("error", String.valueOf(e));
        }
        System.out.println(JSON.writeValueAsString(answer));
        System.out.flush();
      }
    }
  }

  static AclBinding acl(String[] words) {
    var resource = new ResourcePattern(ResourceType.valueOf(words[3]), words[5], PatternType.valueOf(words[4]));
    return new AclBinding(resource,
        new AccessControlEntry(words[1], "*", AclOperation.valueOf(words[2]), AclPermissionType.ALLOW));
  }

  static Map<TopicPartition, TopicPartitionInfo> partitions(Admin admin) throws Exception {
    var names = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get(LIMIT_SECONDS, TimeUnit.SECONDS);
    Map<TopicPartition, TopicPartitionInfo> found = new HashMap<>();
    admin.describeTopics(names).allTopicNames().get(LIMIT_SECONDS, TimeUnit.SECONDS).forEach((topic, description) ->
        description.partitions().forEach(info -> found.put(new TopicPartition(topic, info.partition()), info)));
    return found;
  }

  static int move(Admin admin, int count, long seed) throws Exception {
    Map<TopicPartition, TopicPartitionInfo> before = partitions(admin);
    List<TopicPartition> all = new ArrayList<>(before.keySet());
    all.sort((a, b) -> a.toString().compareTo(b.toString()));
    Random random = new Random(seed);
    Collections.shuffle(all, random);
    Map<TopicPartition, Optional<NewPartitionReassignment>> orders = new HashMap<>();
    for (TopicPartition partition : all) {
      TopicPartitionInfo info = before.get(partition);
      if (orders.size() == count || info.leader() == null) continue;
      List<Integer> others = new ArrayList<>();
      info.isr().forEach(node -> {
        if (node.id() != info.leader().id()) others.add(node.id());
      });
      if (others.isEmpty()) continue;
      int leader = others.get(random.nextInt(others.size()));
      List<Integer> order = new ArrayList<>(List.of(leader));
      info.replicas().forEach(node -> {
        if (node.id() != leader) order.add(node.id());
      });
      orders.put(partition, Optional.of(new NewPartitionReassignment(order)));
    }
    admin.alterPartitionReassignments(orders).all().get(LIMIT_SECONDS, TimeUnit.SECONDS);
    long start = System.nanoTime();
    while (!admin.listPartitionReassignments(orders.keySet()).reassignments().get(LIMIT_SECONDS, TimeUnit.SECONDS).isEmpty()) {
      if (System.nanoTime() - start > LIMIT_SECONDS * 1e9) throw new IllegalStateException("reassignment does not end");
      Thread.sleep(50);
    }
    // A partition whose preferred leader leads already is an error of its own, and no trouble.
    Set<TopicPartition> moved = new HashSet<>();
    admin.electLeaders(ElectionType.PREFERRED, orders.keySet()).partitions().get(LIMIT_SECONDS, TimeUnit.SECONDS)
        .forEach((partition, error) -> {
          if (error.isEmpty()) moved.add(partition);
        });
    return moved.size();
  }

  static void transactions(Admin admin, ObjectNode answer) throws Exception {
    ObjectNode states = answer.putObject("states");
    for (var transaction : admin.listTransactions().all().get(LIMIT_SECONDS, TimeUnit.SECONDS)) {
      states.put(transaction.transactionalId(), transaction.state().toString());
    }
  }

  static void producers(Admin admin, String prefix, ObjectNode answer) throws Exception {
    List<TopicPartition> chosen = new ArrayList<>();
    partitions(admin).keySet().forEach(partition -> {
      if (partition.topic().startsWith(prefix)) chosen.add(partition);
    });
    answer.put("partitions", chosen.size());
    var open = answer.putArray("open");
    admin.describeProducers(chosen).all().get(LIMIT_SECONDS, TimeUnit.SECONDS).forEach((partition, state) ->
        state.activeProducers().forEach(producer -> {
          if (producer.currentTransactionStartOffset().isPresent()) {
            open.add(partition + " from " + producer.currentTransactionStartOffset().getAsLong());
          }
        }));
  }
}
