package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func vectors(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "schemas", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func TestTheIDOfAPaymentIsThePublishedOne(t *testing.T) {
	var known struct {
		Vectors []struct{ Source, IdempotencyKey, PaymentIntentID string }
	}
	vectors(t, "payment_ids.json", &known)
	for _, each := range known.Vectors {
		if found := paymentIntentID(each.Source, each.IdempotencyKey); found != each.PaymentIntentID {
			t.Errorf("%q %q: %s", each.Source, each.IdempotencyKey, found)
		}
	}
}

func TestThePartitionOfAKeyIsThePublishedOne(t *testing.T) {
	var known struct {
		Vectors []struct {
			PaymentIntentID string
			Partitions      map[string]int
		}
	}
	vectors(t, "partitions.json", &known)
	chosen := partitioner.ForTopic(commands)
	for _, each := range known.Vectors {
		for count, wanted := range each.Partitions {
			partitions, _ := strconv.Atoi(count)
			record := &kgo.Record{Key: []byte(each.PaymentIntentID)}
			if found := chosen.Partition(record, partitions); found != wanted {
				t.Errorf("%s of %s: %d", each.PaymentIntentID, count, found)
			}
		}
	}
}

func TestTheBytesOfThePartiesAreThePublishedOnes(t *testing.T) {
	var known struct {
		Vectors []struct {
			Parties  map[string]any
			BytesHex string
		}
	}
	vectors(t, "parties.json", &known)
	schema, err := partiesSchema()
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range known.Vectors {
		bytes, err := schema.Encode(each.Parties)
		if err != nil || hex.EncodeToString(bytes) != each.BytesHex {
			t.Errorf("%v: %x %v", each.Parties, bytes, err)
		}
	}
}
