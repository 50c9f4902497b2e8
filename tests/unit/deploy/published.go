// Parses the values of an EnvoyFilter (JSON on stdin: [{"applyTo": ..., "value": ...}]) by the
// message definitions of one Envoy version, as istiod does, with unknown fields as errors.
// published.py runs it once per version.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

func main() {
	var values []struct {
		ApplyTo string
		Value   json.RawMessage
	}
	if err := json.NewDecoder(os.Stdin).Decode(&values); err != nil {
		panic(err)
	}
	for _, one := range values {
		message := map[string]proto.Message{
			"CLUSTER":        &cluster.Cluster{},
			"NETWORK_FILTER": &listener.Filter{},
			"HTTP_FILTER":    &hcm.HttpFilter{},
		}[one.ApplyTo]
		if err := protojson.Unmarshal(one.Value, message); err != nil {
			fmt.Printf("%s: %v\n", one.ApplyTo, err)
		}
	}
}
