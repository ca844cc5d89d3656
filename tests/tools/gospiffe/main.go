// Command go-spiffe-wit fetches WIT-SVIDs and WIT bundles by go-spiffe, validates each token and proves its key, and
// prints what it found as JSON. Arguments: the socket (unix:///...), and a SPIFFE ID or nothing for all of them.
package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/exp/svid/witsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type found struct {
	ID     string `json:"id"`
	Hint   string `json:"hint"`
	KeyID  string `json:"kid"`
	Proved bool   `json:"proved"`
}

func main() {
	if err := run(os.Args[1], append(os.Args[2:], "")[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(socket, id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, err := workloadapi.New(ctx, workloadapi.WithAddr(socket))
	if err != nil {
		return err
	}
	defer client.Close()
	svids, err := client.FetchWITSVIDs(ctx, id)
	if err != nil {
		return err
	}
	bundles, err := client.FetchWITBundles(ctx)
	if err != nil {
		return err
	}
	results := make([]found, 0, len(svids))
	for _, svid := range svids {
		valid, err := witsvid.ParseAndValidate(svid.Marshal(), bundles)
		if err != nil {
			return err
		}
		results = append(results, found{valid.ID.String(), svid.Hint, valid.KeyID, proves(svid.PrivateKey, valid.PublicKey)})
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

// Whether a signature by the key that came with a token verifies by the key that the token names.
func proves(private any, public any) bool {
	signer, ok := private.(crypto.Signer)
	if !ok {
		return false
	}
	digest := sha256.Sum256(bytes.Repeat([]byte{1}, 32))
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	key, isEC := public.(*ecdsa.PublicKey)
	return err == nil && isEC && ecdsa.VerifyASN1(key, digest[:], signature)
}
