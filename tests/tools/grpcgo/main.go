// A grpc-go client of the lane's test service: it calls, prints what it saw, and fails on anything unexpected.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Messages are plain bytes: what is tested is the transport.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (plain) Name() string                       { return "proto" }

func check(ok bool, what string, seen ...any) {
	if !ok {
		fmt.Println(append([]any{"FAILED:", what}, seen...)...)
		os.Exit(1)
	}
}

func unary(channel *grpc.ClientConn, ctx context.Context, name string, in []byte, opts ...grpc.CallOption) ([]byte, error) {
	var out []byte
	err := channel.Invoke(ctx, "/t/"+name, &in, &out, opts...)
	return out, err
}

func stream(channel *grpc.ClientConn, ctx context.Context, name string) grpc.ClientStream {
	both := &grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true}
	opened, err := channel.NewStream(ctx, both, "/t/"+name)
	check(err == nil, "open a stream", err)
	return opened
}

func receive(from grpc.ClientStream) ([]byte, error) {
	var got []byte
	err := from.RecvMsg(&got)
	return got, err
}

func main() {
	encoding.RegisterCodec(plain{})
	channel, err := grpc.NewClient("unix://"+os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err == nil, "make a channel", err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	got, err := unary(channel, ctx, "Upper", []byte("hello"))
	check(err == nil && string(got) == "HELLO", "unary", got, err)

	// Larger than every window, often: grpc-go probes the bandwidth with PINGs and grows its windows meanwhile.
	big := bytes.Repeat([]byte("X"), 3<<20)
	for range 8 {
		got, err = unary(channel, ctx, "Upper", big)
		check(err == nil && bytes.Equal(got, big), "3 MiB", len(got), err)
	}

	echo := stream(channel, ctx, "Echo")
	for n := range 1000 {
		word := fmt.Appendf(nil, "word %d", n)
		check(echo.SendMsg(&word) == nil, "send")
		got, err = receive(echo)
		check(err == nil && bytes.Equal(got, word), "echo", got, err)
	}
	check(echo.CloseSend() == nil, "half-close")
	_, err = receive(echo)
	check(err == io.EOF && echo.Trailer()["count"][0] == "1000", "end of echo", err, echo.Trailer())

	numbers := stream(channel, ctx, "Numbers")
	count := []byte("20000")
	check(numbers.SendMsg(&count) == nil && numbers.CloseSend() == nil, "ask for numbers")
	for n := range 20000 {
		got, err = receive(numbers)
		check(err == nil && string(got) == fmt.Sprint(n), "number", n, got, err)
	}
	_, err = receive(numbers)
	check(err == io.EOF, "end of numbers", err)

	var trailer metadata.MD
	_, err = unary(channel, ctx, "Refuse", nil, grpc.Trailer(&trailer))
	check(status.Code(err) == codes.NotFound, "refusal", err)
	check(status.Convert(err).Message() == "kein Schlüssel: 100%\n", "message", err)
	check(trailer["why"][0] == "gone" && trailer["why-bin"][0] == "\x00\xff", "trailers", trailer)
	_, err = unary(channel, ctx, "Nothing", nil)
	check(status.Code(err) == codes.Unimplemented, "unknown method", err)

	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	waiting := stream(channel, short, "Watched")
	got, err = receive(waiting)
	check(err == nil && string(got) == "first", "first message", got, err)
	_, err = receive(waiting)
	check(status.Code(err) == codes.DeadlineExceeded, "deadline", err)
	stop()

	// Cancel hundreds at once, among calls that must go on.
	var group sync.WaitGroup
	for range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			once, leave := context.WithCancel(ctx)
			left := stream(channel, once, "Watched")
			_, err := receive(left)
			check(err == nil, "before cancel", err)
			leave()
			_, err = receive(left)
			check(status.Code(err) == codes.Canceled, "after cancel", err)
			answer, err := unary(channel, ctx, "Upper", []byte("on"))
			check(err == nil && string(answer) == "ON", "beside cancel", answer, err)
		}()
	}
	group.Wait()

	last := stream(channel, ctx, "Watched")
	_, err = receive(last)
	check(err == nil, "before drain", err)
	fmt.Println("drain")
	_, err = receive(last)
	check(status.Code(err) == codes.Unavailable, "after drain", err)
	check(status.Convert(err).Message() == "the server is shutting down", "why it ended", err)
	fmt.Println("done")
}
