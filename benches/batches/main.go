// Batches writes the same messages to a stream one at a time, in atomic batches, and by fast ingest, with and
// without message ids, and prints the rate of each. It needs a nats-server 2.14 or newer with JetStream:
//
//	nats-server -js -sd "$(mktemp -d)" -p 4777 &
//	go run . nats://127.0.0.1:4777
//
// It deletes and creates the stream BATCHES for each measurement.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	count   = 50_000
	size    = 400
	rounds  = 3
	pending = 4096
	batches = 8
	stream  = "BATCHES"
)

// A way of writing all messages; ids says whether each has a message id.
type way struct {
	name  string
	write func(js jetstream.JetStream, ids bool) error
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: batches URL")
	}
	connection, err := nats.Connect(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(connection, jetstream.WithPublishAsyncMaxPending(pending))
	if err != nil {
		log.Fatal(err)
	}
	ways := []way{
		{"one message at a time, pipelined", single},
		{"fast ingest", fastIngest},
		{"atomic batches of 500", atomic(500)},
		{"atomic batches of 50", atomic(50)},
	}
	for _, way := range ways {
		for _, ids := range []bool{false, true} {
			var rates []float64
			for range rounds {
				rate, err := measure(js, way, ids)
				if err != nil {
					log.Fatalf("%s, message ids %v: %v", way.name, ids, err)
				}
				rates = append(rates, rate)
			}
			slices.Sort(rates)
			fmt.Printf("%-34s message ids %-5v %7.0f/s (%.0f to %.0f)\n", way.name, ids, rates[rounds/2],
				rates[0], rates[rounds-1])
		}
	}
}

// measure writes all messages to a new stream and returns the messages per second.
func measure(js jetstream.JetStream, way way, ids bool) (float64, error) {
	ctx := context.Background()
	_ = js.DeleteStream(ctx, stream)
	created, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{stream + ".>"}, Duplicates: 2 * time.Minute,
		AllowAtomicPublish: true, AllowBatchPublish: true,
	})
	if err != nil {
		return 0, err
	}
	started := time.Now()
	if err := way.write(js, ids); err != nil {
		return 0, err
	}
	elapsed := time.Since(started)
	info, err := created.Info(ctx)
	if err == nil && info.State.Msgs != count {
		err = fmt.Errorf("%d of %d messages are stored", info.State.Msgs, count)
	}
	return count / elapsed.Seconds(), err
}

// message is as large as an outcome in the history.
func message(n int, ids bool) *nats.Msg {
	made := nats.NewMsg(fmt.Sprintf("%s.%d", stream, n%1000))
	made.Data = make([]byte, size)
	id := fmt.Sprintf("01a20c7c-2d81-888a-8d73-%012d", n)
	made.Header.Set("Scheduler-Execution-Id", id)
	if ids {
		made.Header.Set(nats.MsgIdHdr, id+".outcome")
	}
	return made
}

func single(js jetstream.JetStream, ids bool) error {
	for n := range count {
		if _, err := js.PublishMsgAsync(message(n, ids)); err != nil {
			return err
		}
	}
	<-js.PublishAsyncComplete()
	return nil
}

func fastIngest(js jetstream.JetStream, ids bool) error {
	publisher, err := jetstreamext.NewFastPublisher(js)
	if err != nil {
		return err
	}
	for n := range count - 1 {
		if _, err := publisher.AddMsg(message(n, ids)); err != nil {
			return err
		}
	}
	_, err = publisher.CommitMsg(context.Background(), message(count-1, ids))
	return err
}

func atomic(each int) func(jetstream.JetStream, bool) error {
	return func(js jetstream.JetStream, ids bool) error {
		permits, failed := make(chan struct{}, batches), make(chan error, count/each)
		for first := 0; first < count; first += each {
			batch := make([]*nats.Msg, each)
			for n := range batch {
				batch[n] = message(first+n, ids)
			}
			permits <- struct{}{}
			go func() {
				if _, err := jetstreamext.PublishMsgBatch(context.Background(), js, batch); err != nil {
					failed <- err
				}
				<-permits
			}()
		}
		for range batches {
			permits <- struct{}{}
		}
		select {
		case err := <-failed:
			return err
		default:
			return nil
		}
	}
}
