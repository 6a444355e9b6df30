package main

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What an upstream system has to compute by itself: the payment's id, and the wire format.

const (
	source    = "mobile-app"
	commands  = "npp.payment.commands.v1"
	lifecycle = "npp.payment.lifecycle.v1"
	outcomes  = "npp.payment.outcomes.v1"
)

// paymentIntentID is pi_ and base32 (lower case, no padding) of the first 16 bytes of
// SHA-256(source, NUL, key).
func paymentIntentID(source, key string) string {
	hash := sha256.Sum256([]byte(source + "\x00" + key))
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(hash[:16])
	return "pi_" + strings.ToLower(text)
}

// partitioner is the one of Java's client: murmur2 of the key, the sign bit cleared, modulo the
// topic's partitions. It is franz-go's default, too; here it is named.
var partitioner = kgo.StickyKeyPartitioner(nil)

// registry gives schemas, each asked for once.
type registry struct {
	url     string
	readers map[uint32]*avro.Schema
}

func (r *registry) ask(path string) (id uint32, schema *avro.Schema, err error) {
	answer, err := http.Get(r.url + path)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	var found struct {
		ID     uint32
		Schema string
	}
	if err = json.NewDecoder(answer.Body).Decode(&found); err != nil || answer.StatusCode != http.StatusOK {
		return 0, nil, fmt.Errorf("the registry says %s to %s: %v", answer.Status, path, err)
	}
	schema, err = avro.Parse(found.Schema)
	return found.ID, schema, err
}

// encode: the subject is topic, "-", and the record's full name.
func (r *registry) encode(topic, name string, value any) ([]byte, error) {
	id, schema, err := r.ask("/subjects/" + topic + "-au.npp.orchestrator.v1." + name + "/versions/latest")
	if err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32([]byte{0}, id)
	return schema.AppendEncode(head, value)
}

func (r *registry) decode(bytes []byte) (map[string]any, error) {
	if len(bytes) < 5 || bytes[0] != 0 {
		return nil, errors.New("not the wire format of the registry")
	}
	id := binary.BigEndian.Uint32(bytes[1:])
	schema := r.readers[id]
	if schema == nil {
		_, found, err := r.ask(fmt.Sprintf("/schemas/ids/%d", id))
		if err != nil {
			return nil, err
		}
		schema, r.readers[id] = found, found
	}
	var value map[string]any
	_, err := schema.Decode(bytes[5:], &value)
	return value, err
}
