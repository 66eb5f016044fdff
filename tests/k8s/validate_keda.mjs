// Reads a JSON list of KEDA's objects; prints one line for everything that KEDA's types do not allow in them.
import { readFileSync } from "node:fs";
import * as kinds from "@kubernetes-models/keda/keda.sh/v1alpha1";

for (const document of JSON.parse(readFileSync(0, "utf8"))) {
  const { apiVersion, kind, ...rest } = document;
  const Kind = kinds[kind];
  if (apiVersion !== "keda.sh/v1alpha1" || Kind === undefined) {
    console.log(`${apiVersion} ${kind}: unknown`);
    continue;
  }
  try {
    new Kind(rest).validate();
  } catch (fault) {
    console.log(`${kind} ${rest.metadata.name}: ${fault.message}`);
  }
}
