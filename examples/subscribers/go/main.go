// A subscriber in another language, from docs/schemas alone: it tells each failover that brought a workload back.
package main

//go:generate go run github.com/atombender/go-jsonschema@v0.20.0 -p main --tags json --only-models -o events.go ../../../docs/schemas/v1/failover.completed.json

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/nats-io/nats.go"
)

func main() {
	var options []nats.Option
	// A folder with ca.crt and user.creds, of the Secret reprise-nats-reader. A reader has one consumer, `reader`.
	if folder := os.Getenv("NATS_CREDENTIALS"); folder != "" {
		options = append(options, nats.UserCredentials(folder+"/user.creds"), nats.RootCAs(folder+"/ca.crt"), nats.CustomInboxPrefix("_INBOX.reader"))
	}
	client, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), options...)
	check(err)
	stream, err := client.JetStream()
	check(err)
	events, err := stream.SubscribeSync("reprise.v1.failover.completed.>", nats.BindStream("REPRISE"), nats.Durable("reader"), nats.ManualAck())
	check(err)
	for {
		message, err := events.NextMsgWithContext(context.Background())
		check(err)
		var event FailoverCompletedJson
		check(json.Unmarshal(message.Data, &event))
		data := event.Data
		fmt.Printf("%s/%s serves on %s, %.1f s after its %s\n", data.Workload.Namespace, data.Workload.Name, data.Node, data.TotalS, data.Cause)
		check(message.Ack())
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
