// A load client of ADS: many streams over mutual TLS, each on its own connection, that ACK everything.
//
// Run as `ads-load sotw|delta PORT STREAMS FOLDER NODE`, NODE being the bytes that a node says of itself as Envoy does,
// with its extensions. Prints `ready` once every stream has its first response. In delta mode every stream comes back,
// as Envoy does, when its server is gone, saying what it holds; once all have an answer again, a line of JSON says how
// many there are and how many resources they were sent.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

const (
	serverName = "ringfence-server"
	policy     = "policy"
	ecds       = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	lds        = "type.googleapis.com/envoy.config.listener.v3.Listener"
	atOnce     = 50 // connections being made
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func credentialsOf(folder string) credentials.TransportCredentials {
	pem := filepath.Join(folder, "client.pem")
	pair, err := tls.LoadX509KeyPair(pem, pem)
	check(err)
	text, err := os.ReadFile(filepath.Join(folder, "roots.pem"))
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: serverName,
	})
}

// extensionsOf makes what a node of that size says of itself. All nodes share it: each is on a machine of its own, whose
// memory and garbage collector are none of what is measured.
func extensionsOf(size int) []*corev3.Extension {
	node := &corev3.Node{Id: "n0", UserAgentName: "envoy"}
	for extension := 0; proto.Size(node) < size; extension++ {
		name := fmt.Sprintf("envoy.filters.http.number_%d", extension)
		node.Extensions = append(node.Extensions, &corev3.Extension{
			Name: name, Category: "envoy.filters.http",
			TypeUrls: []string{name + ".v3.Config", name + ".v3.PerRoute"},
		})
	}
	return node.Extensions
}

type client struct {
	ads   discoveryv3.AggregatedDiscoveryServiceClient
	node  *corev3.Node
	holds map[string]string
	first func()
	again func(resources int)
}

// sotw asks for one extension config and accepts every version of it.
func (c *client) sotw() error {
	stream, err := c.ads.StreamAggregatedResources(context.Background(), grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	names := []string{policy}
	err = stream.Send(&discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: ecds, ResourceNames: names})
	c.node = nil
	for err == nil {
		var response *discoveryv3.DiscoveryResponse
		if response, err = stream.Recv(); err != nil {
			return err
		}
		err = stream.Send(&discoveryv3.DiscoveryRequest{
			TypeUrl: ecds, ResourceNames: names, VersionInfo: response.VersionInfo, ResponseNonce: response.Nonce,
		})
		c.answered(len(response.Resources))
	}
	return err
}

// delta asks for all listeners, saying which it holds from before.
func (c *client) delta() error {
	stream, err := c.ads.DeltaAggregatedResources(context.Background(), grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: c.node, TypeUrl: lds, InitialResourceVersions: c.holds})
	for err == nil {
		var response *discoveryv3.DeltaDiscoveryResponse
		if response, err = stream.Recv(); err != nil {
			return err
		}
		for _, resource := range response.Resources {
			c.holds[resource.Name] = resource.Version
		}
		err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: lds, ResponseNonce: response.Nonce})
		c.answered(len(response.Resources))
	}
	return err
}

func (c *client) answered(resources int) {
	if c.first != nil {
		c.first()
		c.first = nil
	} else if c.again != nil {
		c.again(resources)
		c.again = nil
	}
}

func main() {
	mode, port, folder := os.Args[1], os.Args[2], os.Args[4]
	streams, err := strconv.Atoi(os.Args[3])
	check(err)
	size, err := strconv.Atoi(os.Args[5])
	check(err)
	transport, extensions := credentialsOf(folder), extensionsOf(size)
	gate, first := make(chan struct{}, atOnce), make(chan struct{}, streams)
	again, resent := make(chan struct{}, streams), atomic.Int64{}
	retry := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second}
	for number := range streams {
		gate <- struct{}{}
		channel, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(transport),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 20 * time.Second}))
		check(err)
		c := &client{
			ads:   discoveryv3.NewAggregatedDiscoveryServiceClient(channel),
			node:  &corev3.Node{Id: fmt.Sprintf("n%d", number), UserAgentName: "envoy", Extensions: extensions},
			holds: map[string]string{},
			first: func() { <-gate; first <- struct{}{} },
		}
		go func() {
			if mode == "sotw" {
				check(c.sotw())
				return
			}
			for {
				_ = c.delta() // its server is gone
				c.again = func(resources int) { resent.Add(int64(resources)); again <- struct{}{} }
			}
		}()
	}
	for range streams {
		<-first
	}
	fmt.Println("ready")
	if mode == "delta" {
		go func() {
			for range streams {
				<-again
			}
			line, err := json.Marshal(map[string]int64{"streams": int64(streams), "resent": resent.Load()})
			check(err)
			fmt.Println(string(line))
		}()
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	check(err)
}
