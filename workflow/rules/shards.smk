# One shard of an artefact: what the rule of the same name does, for some of its images.

for whole in stage.scattered():

    rule:
        name:
            f"{whole}_shard"
        input:
            unpack(stage.all_inputs),
        output:
            stage.artefact(whole, shard=True),
        log:
            "logs/{dataset}/s{seed}/{folder}/{name}/{part}-of-{parts}.log",
        benchmark:
            "logs/{dataset}/s{seed}/{folder}/{name}/{part}-of-{parts}.tsv"
        conda:
            "../../envs/environment.yml"
        threads: stage.threads
        resources:
            gpu=stage.gpus,
            gpu_model=stage.gpu_model,
            gres=stage.gres,
            mem_mb=stage.memory,
            runtime=stage.minutes,
        params:
            command=stage.command,
            title=stage.title,
        message:
            "{params.title}"
        shell:
            COMMAND
