// A go-control-plane that serves one extension config to many streams: the peer of our ads_* figures.
//
// Run as `gcp equal|distinct SIZE STREAMS FOLDER`. Prints its port; for each line on stdin it makes one change and
// prints, as JSON, the CPU seconds and the wall seconds from the change to the last ACK; for the line `settle` it gives
// freed memory back to the system.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"
)

// all puts every proxy into one group, whose snapshot is set once.
type all struct{}

func (all) ID(*corev3.Node) string { return "all" }

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func snapshot(turn int, who string, size int) *cachev3.Snapshot {
	version := strconv.Itoa(turn)
	text := strings.Repeat(version+who+"-", size)[:size]
	config := &corev3.TypedExtensionConfig{
		Name:        "policy",
		TypedConfig: &anypb.Any{TypeUrl: resourcev3.ExtensionConfigType, Value: []byte(text)},
	}
	made, err := cachev3.NewSnapshot(version, map[resourcev3.Type][]types.Resource{
		resourcev3.ExtensionConfigType: {config},
	})
	check(err)
	return made
}

func credentialsOf(folder string) credentials.TransportCredentials {
	pem := filepath.Join(folder, "server.pem")
	pair, err := tls.LoadX509KeyPair(pem, pem)
	check(err)
	text, err := os.ReadFile(filepath.Join(folder, "roots.pem"))
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
	})
}

func cpu() float64 {
	var spent syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &spent))
	return time.Duration(spent.Utime.Nano() + spent.Stime.Nano()).Seconds()
}

func main() {
	mode, folder := os.Args[1], os.Args[4]
	size, err := strconv.Atoi(os.Args[2])
	check(err)
	streams, err := strconv.Atoi(os.Args[3])
	check(err)
	var acks atomic.Int64
	var cache cachev3.SnapshotCache
	nodes := []string{"all"}
	if mode == "equal" {
		cache = cachev3.NewSnapshotCache(false, all{}, nil)
	} else {
		cache = cachev3.NewSnapshotCache(false, cachev3.IDHash{}, nil)
		nodes = nil
		for number := range streams {
			nodes = append(nodes, fmt.Sprintf("n%d", number))
		}
	}
	set := func(turn int) {
		for _, node := range nodes {
			check(cache.SetSnapshot(context.Background(), node, snapshot(turn, node, size)))
		}
	}
	set(0)
	callbacks := serverv3.CallbackFuncs{
		StreamRequestFunc: func(_ int64, request *discoveryv3.DiscoveryRequest) error {
			if request.ResponseNonce != "" {
				acks.Add(1)
			}
			return nil
		},
	}
	server := grpc.NewServer(grpc.Creds(credentialsOf(folder)))
	ads := serverv3.NewServer(context.Background(), cache, callbacks)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, ads)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { check(server.Serve(listener)) }()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	reach := func(wanted int64) {
		for acks.Load() < wanted {
			time.Sleep(time.Millisecond)
		}
	}
	turn := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		reach(int64(streams))
		if lines.Text() == "settle" {
			debug.FreeOSMemory()
			fmt.Println("{}")
			continue
		}
		turn++
		wanted := acks.Load() + int64(streams)
		spent, begun := cpu(), time.Now()
		set(turn)
		reach(wanted)
		line, err := json.Marshal(map[string]float64{"cpu": cpu() - spent, "wall": time.Since(begun).Seconds()})
		check(err)
		fmt.Println(string(line))
	}
}
