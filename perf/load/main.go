// Loads a Workload API socket as Go programs do, and prints one JSON line a phase: what was called, how often, how long.
//
//	load fetch SOCKET fresh|reused CALLERS CALLS   FetchX509SVID to its first message, CALLS times over CALLERS at once
//	load burst SOCKET STREAMS                      STREAMS connections at once, each to its first message
//	load hold SOCKET STREAMS CONNECTIONS           open and hold streams; at each line on stdin wait for a message on all
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
)

const patience = 60 * time.Second

// Messages stay bytes: what is measured is the server, not a decoder of ours.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (plain) Name() string                       { return "proto" }

type result struct {
	Calls    int     `json:"calls"`
	Failures int64   `json:"failures"`
	Seconds  float64 `json:"seconds"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
	Error    string  `json:"error,omitempty"`
}

func connect(socket string) *grpc.ClientConn {
	channel, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return channel
}

// open starts a FetchX509SVID stream and waits for its first message.
func open(ctx context.Context, channel *grpc.ClientConn) (grpc.ClientStream, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")
	stream, err := channel.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/SpiffeWorkloadAPI/FetchX509SVID")
	if err != nil {
		return nil, err
	}
	empty := []byte{}
	if err = stream.SendMsg(&empty); err != nil {
		return nil, err
	}
	if err = stream.CloseSend(); err != nil {
		return nil, err
	}
	return stream, receive(stream)
}

func receive(stream grpc.ClientStream) error {
	var message []byte
	return stream.RecvMsg(&message)
}

// all runs one call a number of times over so many callers, and sums up.
func all(callers, calls int, call func(caller, number int) error) result {
	times := make([]float64, calls)
	var next, failures atomic.Int64
	var first atomic.Value
	var group sync.WaitGroup
	begun := time.Now()
	for caller := range callers {
		group.Go(func() {
			for number := int(next.Add(1)) - 1; number < calls; number = int(next.Add(1)) - 1 {
				started := time.Now()
				if err := call(caller, number); err != nil {
					failures.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
				times[number] = float64(time.Since(started).Microseconds()) / 1e3
			}
		})
	}
	group.Wait()
	seconds := time.Since(begun).Seconds()
	slices.Sort(times)
	text, _ := first.Load().(string)
	return result{calls, failures.Load(), seconds, times[calls/2], times[calls*99/100], times[calls-1], text}
}

func fetch(socket string, fresh bool, callers, calls int) result {
	channels := make([]*grpc.ClientConn, callers)
	for caller := range channels {
		channels[caller] = connect(socket)
	}
	once := func(channel *grpc.ClientConn) error {
		// Without a deadline, as streams of the Workload API are opened.
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		defer time.AfterFunc(patience, cancel).Stop()
		_, err := open(ctx, channel)
		return err
	}
	return all(callers, calls, func(caller, _ int) error {
		if !fresh {
			return once(channels[caller])
		}
		channel := connect(socket)
		defer channel.Close()
		return once(channel)
	})
}

// burst opens a connection and a stream for each of so many callers at once, and ends none before all were served.
func burst(socket string, streams int) result {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return all(streams, streams, func(_, _ int) error {
		_, err := open(ctx, connect(socket))
		return err
	})
}

// hold opens its streams over so many connections, then times each change from the line on stdin to the last message.
func hold(socket string, streams, connections int) {
	channels := make([]*grpc.ClientConn, connections)
	for number := range channels {
		channels[number] = connect(socket)
	}
	held := make([]grpc.ClientStream, streams)
	report(all(min(streams, 64), streams, func(_, number int) (err error) {
		held[number], err = open(context.Background(), channels[number%connections])
		return err
	}))
	arrived := make(chan time.Time, streams)
	for _, stream := range held {
		if stream != nil {
			go func() {
				for receive(stream) == nil {
					arrived <- time.Now()
				}
			}()
		}
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		begun := time.Now()
		var first, last time.Time
		deadline := time.After(patience)
		count := 0
		for ; count < streams; count++ {
			select {
			case last = <-arrived:
				if first.IsZero() {
					first = last
				}
				continue
			case <-deadline:
			}
			break
		}
		after := func(moment time.Time) float64 { return moment.Sub(begun).Seconds() * 1e3 }
		report(map[string]any{"messages": count, "first_ms": after(first), "last_ms": after(last)})
	}
}

func report(what any) {
	line, _ := json.Marshal(what)
	fmt.Println(string(line))
}

func number(position int) int {
	value, err := strconv.Atoi(os.Args[position])
	if err != nil || value < 1 {
		fmt.Fprintln(os.Stderr, "not a number:", os.Args[position])
		os.Exit(2)
	}
	return value
}

func main() {
	encoding.RegisterCodec(plain{})
	switch os.Args[1] {
	case "fetch":
		report(fetch(os.Args[2], os.Args[3] == "fresh", number(4), number(5)))
	case "burst":
		report(burst(os.Args[2], number(3)))
	case "hold":
		hold(os.Args[2], number(3), number(4))
	default:
		fmt.Fprintln(os.Stderr, "fetch, burst or hold")
		os.Exit(2)
	}
}
