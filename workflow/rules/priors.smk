# From tags to class activation maps, and to maps put together or made elsewhere.


rule classifier:
    input:
        unpack(plan.inputs("classifier")),
    output:
        f"{RUN}/classifiers/{{name}}/manifest.json",
        f"{RUN}/classifiers/{{name}}/model.safetensors",
        f"{RUN}/classifiers/{{name}}/metrics.jsonl",
        f"{RUN}/classifiers/{{name}}/predictions.csv",
    log:
        "logs/{dataset}/s{seed}/classifiers/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/classifiers/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("classifier"),
    conda:
        "../../envs/environment.yml"
    threads: plan.cores("classifier", GPU_CORES)
    resources:
        gpu=plan.processes("classifier"),
        mem_mb=plan.memory("classifier"),
        runtime=NEEDS["classifier"].minutes,
    params:
        settings=plan.settings("classifier"),
        code=plan.code("classifier"),
        weights=plan.weights_content("classifier"),
        run=plan.program("classifier"),
        inputs=plan.flags("classifier"),
        out=plan.out,
        state=plan.state,
        tee=plan.tee,
    message:
        "Training classifier {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


rule cams:
    input:
        unpack(scatter.inputs("cams")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("cams"),
    conda:
        "../../envs/environment.yml"
    threads: GPU_CORES
    resources:
        gpu=scatter.gpus,
        mem_mb=scatter.memory("cams"),
        runtime=NEEDS["cams"].minutes,
    params:
        settings=plan.settings("cams"),
        code=plan.code("cams"),
        run=plan.program("cams"),
        inputs=scatter.flags("cams"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Class activation maps {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule cams as cams_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Class activation maps {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule ensemble:
    input:
        unpack(scatter.inputs("ensemble")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
        f"{RUN}/cams/{{name}}/agreement.csv",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("ensemble"),
    conda:
        "../../envs/environment.yml"
    threads: CORES
    resources:
        mem_mb=scatter.memory("ensemble"),
        runtime=NEEDS["ensemble"].minutes,
    params:
        settings=plan.settings("ensemble"),
        code=plan.code("ensemble"),
        run=plan.program("ensemble"),
        inputs=scatter.flags("ensemble"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Putting maps together: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule ensemble as ensemble_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Putting maps together: {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"


rule external_cams:
    input:
        unpack(scatter.inputs("external_cams")),
    output:
        f"{RUN}/cams/{{name}}/manifest.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}.tsv"
    wildcard_constraints:
        name=plan.name_pattern("external_cams"),
    conda:
        "../../envs/environment.yml"
    threads: min(4, CORES)
    resources:
        mem_mb=scatter.memory("external_cams"),
        runtime=NEEDS["external_cams"].minutes,
    params:
        settings=plan.settings("external_cams"),
        code=plan.code("external_cams"),
        content=plan.elsewhere_content("external_cams"),
        run=plan.program("external_cams"),
        inputs=scatter.flags("external_cams"),
        out=scatter.out,
        state=scatter.state,
        tee=plan.tee,
    message:
        "Taking in maps made elsewhere: {wildcards.name} ({wildcards.dataset}, seed {wildcards.seed})"
    shell:
        "{params.run} {params.inputs} --settings {params.settings:q} --seed {wildcards.seed} --threads {threads}"
        " --out {params.out:q} --state {params.state:q} 2>&1 | {params.tee} {log:q}"


use rule external_cams as external_cams_shard with:
    output:
        f"{RUN}/cams/{{name}}/parts/{{part}}-of-{{parts}}.json",
    log:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.log",
    benchmark:
        "logs/{dataset}/s{seed}/cams/{name}/{part}-of-{parts}.tsv"
    message:
        "Taking in maps made elsewhere: {wildcards.name}, shard {wildcards.part}/{wildcards.parts} ({wildcards.dataset}, seed {wildcards.seed})"
