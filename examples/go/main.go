// Publishes one payment and follows it to its end.
//
//	go run . localhost:9092 http://localhost:8081 my-key-1 1250
//
// Exit 0: settled; 1: anything else.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const followMax = 60 * time.Second

var final = map[string]bool{"SETTLED": true, "FAILED": true, "EXPIRED": true}

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: go run . BROKERS REGISTRY KEY CENTS")
		os.Exit(2)
	}
	cents, err := strconv.ParseInt(os.Args[4], 10, 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	settled, err := publishAndFollow(strings.Split(os.Args[1], ","), os.Args[2], os.Args[3], cents)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !settled {
		os.Exit(1)
	}
}

func publishAndFollow(brokers []string, url, key string, cents int64) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), followMax)
	defer cancel()
	reg := &registry{url: url, readers: map[uint32]*avro.Schema{}}
	payment, commandID := paymentIntentID(source, key), "cmd-"+rand.Text()
	fmt.Println(payment)
	value, err := createPayment(reg, payment, commandID, key, cents)
	if err != nil {
		return false, err
	}
	// The reader is at the ends before anything is published: nothing can be missed.
	ends, err := atTheEnds(ctx, brokers)
	if err != nil {
		return false, err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...),
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotent by default
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.RecordPartitioner(partitioner),
		kgo.ConsumePartitions(ends),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return false, err
	}
	defer client.Close()
	record := &kgo.Record{Topic: commands, Key: []byte(payment), Value: value}
	if err := client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return false, err
	}
	return follow(ctx, client, reg, payment, commandID)
}

func createPayment(reg *registry, payment, commandID, key string, cents int64) ([]byte, error) {
	sealed, err := parties()
	if err != nil {
		return nil, err
	}
	return reg.encode(commands, "CreatePayment", map[string]any{
		"header": map[string]any{
			"paymentIntentId": payment, "commandId": commandID, "sentAt": time.Now().UnixMilli(), "traceparent": nil,
		},
		"source": source, "idempotencyKey": key, "amount": cents, "currency": "AUD",
		"parties":    map[string]any{"scheme": "avro.1", "keyId": nil, "bytes": sealed},
		"endToEndId": "NOTPROVIDED", "service": "x2p1", "uetr": nil, "customerId": nil,
		"requestedExecutionTime": nil, "expiresAt": nil,
	})
}

// parties are Avro binary without any prefix.
func parties() ([]byte, error) {
	schema, err := partiesSchema()
	if err != nil {
		return nil, err
	}
	account := func(name, bsb, number string) map[string]any {
		return map[string]any{"name": name, "bsb": bsb, "account": number, "payIdType": nil, "payId": nil}
	}
	return schema.Encode(map[string]any{
		"debtor":     account("Ada Debtor", "062000", "12345678"),
		"creditor":   account("Bo Creditor", "082000", "87654321"),
		"remittance": "invoice 1",
	})
}

func partiesSchema() (*avro.Schema, error) {
	text, err := os.ReadFile(filepath.Join("..", "..", "schemas", "avro", "Parties.avsc"))
	if err != nil {
		return nil, err
	}
	return avro.Parse(string(text))
}

func atTheEnds(ctx context.Context, brokers []string) (map[string]map[int32]kgo.Offset, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	listed, err := kadm.NewClient(client).ListEndOffsets(ctx, lifecycle, outcomes)
	if err != nil {
		return nil, err
	}
	return listed.KOffsets(), listed.Error()
}

// follow prints what becomes of it; true when it is settled.
func follow(ctx context.Context, client *kgo.Client, reg *registry, payment, commandID string) (bool, error) {
	var seen int64
	for {
		fetched := client.PollFetches(ctx)
		if ctx.Err() != nil {
			fmt.Println("not at its end yet")
			return false, nil
		}
		for _, record := range fetched.Records() {
			if string(record.Key) != payment || record.Value == nil {
				continue
			}
			value, err := reg.decode(record.Value)
			if err != nil {
				return false, err
			}
			if record.Topic == outcomes {
				if value["cause"].(map[string]any)["commandId"] != commandID {
					continue
				}
				fmt.Println(value["result"], value["rule"], value["sentence"])
				return false, nil // a duplicate or a refusal; an accepted payment has no outcome
			}
			sequence := value["sequence"].(int64)
			if sequence <= seen {
				continue // one that was seen already
			}
			seen = sequence
			state := value["state"].(string)
			fmt.Println(seen, state, value["moneyOutcome"])
			if final[state] {
				return state == "SETTLED", nil
			}
		}
	}
}
